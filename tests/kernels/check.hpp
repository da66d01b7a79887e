// CHECK counts what holds; a test's main ends with `return report();`.
#pragma once

#include <cstdio>

#include "kernels.hpp"

inline size_t passed = 0, failed = 0;

// What is being tested, for the line of a failure.
inline char scene[256] = "";

// The arguments after the condition are printf's: the values that it spoke of.
#define CHECK(condition, ...)                                                               \
    do {                                                                                    \
        if (condition) {                                                                    \
            ++passed;                                                                       \
        } else if (++failed <= 20) {                                                        \
            std::printf("%s:%d: %s: %s: ", __FILE__, __LINE__, #condition, scene);          \
            std::printf(__VA_ARGS__);                                                       \
            std::printf("\n");                                                              \
            std::fflush(stdout);                                                            \
        }                                                                                   \
    } while (0)

inline int report() {
    std::printf("%zu passed, %zu failed\n", passed, failed);
    return failed > 0 || passed == 0;
}

#if defined(__x86_64__)
inline const char *const level_names[] = {"v2", "v3", "v4"};
#else
inline const char *const level_names[] = {"neon"};
#endif

// Call f(kernels) for every level that this CPU has.
template <class Function>
void for_levels(Function f) {
    for (const char *name : level_names) {
        const char *error = nullptr;
        const stablesoftmax::Kernels *kernels = stablesoftmax::choose_kernels(name, &error);
        if (kernels)
            f(*kernels);
        else
            std::printf("skipped: %s %s\n", name, error);
    }
}

inline const char *const operation_names[] = {"softmax", "log_softmax", "logsumexp"};
inline const char *const format_names[] = {"float32", "float64", "float16", "bfloat16"};
