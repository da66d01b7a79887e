#define LEVEL v4
#define LEVEL_NAME "v4"
#define LEVEL_TABLE kernels_v4
#include "level.hpp"
