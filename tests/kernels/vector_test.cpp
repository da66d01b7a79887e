// vector.cpp at every level that this CPU has.
#include <cstring>

#include "check.hpp"

namespace stablesoftmax {

#if defined(__x86_64__)
namespace v2 { void test_vector(); }
namespace v3 { void test_vector(); }
namespace v4 { void test_vector(); }
constexpr void (*tests[])() = {v2::test_vector, v3::test_vector, v4::test_vector};
#else
namespace neon { void test_vector(); }
constexpr void (*tests[])() = {neon::test_vector};
#endif

}  // namespace stablesoftmax

int main() {
    for_levels([](const stablesoftmax::Kernels &kernels) {
        for (size_t k = 0; k < sizeof level_names / sizeof *level_names; ++k) {
            if (std::strcmp(level_names[k], kernels.name) != 0) continue;
            std::snprintf(scene, sizeof scene, "%s", kernels.name);
            stablesoftmax::tests[k]();
        }
    });
    return report();
}
