#define LEVEL neon
#define LEVEL_NAME "neon"
#define LEVEL_TABLE kernels_neon
#include "level.hpp"
