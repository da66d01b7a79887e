// Which level this CPU gets.
#include <cstring>

#include "kernels.hpp"

namespace stablesoftmax {

#if defined(__x86_64__)
extern const Kernels kernels_v2, kernels_v3, kernels_v4;

[[maybe_unused]] static bool has_v3() {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("lzcnt");
}

[[maybe_unused]] static bool has_v4() {
    return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}

[[maybe_unused]] static bool has_v2() { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"); }

struct Level {
    const Kernels *kernels;
    bool (*supported)();
};

static const Level levels[] = {
#if defined(BUILT_AVX512)
    {&kernels_v4, has_v4},
#endif
#if defined(BUILT_AVX2)
    {&kernels_v3, has_v3},
#endif
#if defined(BUILT_BASELINE)
    {&kernels_v2, has_v2},
#endif
};
#else
extern const Kernels kernels_neon;

struct Level {
    const Kernels *kernels;
    bool (*supported)();
};

static const Level levels[] = {{&kernels_neon, [] { return true; }}};
#endif

const Kernels *choose_kernels(const char *forced, const char **error) {
    for (const Level &level : levels) {
        if (forced && *forced && std::strcmp(forced, level.kernels->name) != 0) continue;
        if (level.supported()) return level.kernels;
    }
    *error = forced && *forced ? "names no level that this CPU has" : "this CPU lacks even x86-64-v2";
    return nullptr;
}

}  // namespace stablesoftmax
