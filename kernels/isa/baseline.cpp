#define LEVEL v2
#define LEVEL_NAME "v2"
#define LEVEL_TABLE kernels_v2
#include "level.hpp"
