// What an element is in memory, and what it is computed in.
#pragma once

#include <cstdint>

namespace stablesoftmax {

struct float16 {
    uint16_t bits;
};

struct bfloat16 {
    uint16_t bits;
};

template <class S>
struct Compute {
    using Type = float;
};
template <>
struct Compute<double> {
    using Type = double;
};

// float for the two 16-bit formats and float32; double for float64.
template <class S>
using compute = typename Compute<S>::Type;

}  // namespace stablesoftmax
