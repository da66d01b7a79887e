#define LEVEL v3
#define LEVEL_NAME "v3"
#define LEVEL_TABLE kernels_v3
#include "level.hpp"
