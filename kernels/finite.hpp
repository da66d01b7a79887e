// Whether numbers are finite throughout, in one sweep at the speed of memory.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels.hpp"

namespace stablesoftmax {

// All bits of the exponent are set in NaN and infinities, and in nothing else: then, and only then,
// one more in its lowest place reaches the sign's.
template <class Bits, Bits exponent>
bool all_finite_bits(const char *data, size_t count) {
    constexpr size_t block = 4096;  // elements between looks at what was found
    constexpr Bits lowest = exponent & (~exponent + 1), sign = static_cast<Bits>(exponent + lowest);
    while (count > 0) {
        const size_t n = count < block ? count : block;
        Bits found = 0;
        for (size_t i = 0; i < n; ++i) {
            Bits bits;
            std::memcpy(&bits, data + i * sizeof(Bits), sizeof(Bits));
            found |= static_cast<Bits>((bits & exponent) + lowest);
        }
        if (found & sign) return false;
        data += n * sizeof(Bits);
        count -= n;
    }
    return true;
}

inline bool all_finite(Format format, const char *data, size_t count) {
    switch (format) {
        case Format::float16: return all_finite_bits<uint16_t, 0x7c00>(data, count);
        case Format::bfloat16: return all_finite_bits<uint16_t, 0x7f80>(data, count);
        case Format::float32: return all_finite_bits<uint32_t, 0x7f800000>(data, count);
        default: return all_finite_bits<uint64_t, 0x7ff0000000000000>(data, count);
    }
}

}  // namespace stablesoftmax
