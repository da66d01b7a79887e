// Whether an array is finite throughout: what a watched program is asked after every line, in one
// sweep at the speed of memory and a tenth of what a ufunc's call costs.
#include "binding.hpp"

#include <cstdint>
#include <cstring>

namespace stablesoftmax {

namespace {

constexpr size_t block = 4096;  // elements between looks at what was found

// All bits of the exponent are set in NaN and infinities, and in nothing else: then, and only then,
// one more in its lowest place reaches the sign's.
template <class Bits, Bits exponent>
bool all_finite_bits(const char *data, size_t count) {
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

}  // namespace

// None: of a dtype or a layout that this does not know.
PyObject *all_finite(PyObject *, PyObject *object) {
    if (!PyArray_CheckExact(object)) Py_RETURN_NONE;
    auto *array = reinterpret_cast<PyArrayObject *>(object);
    if (!PyArray_ISONESEGMENT(array) || !PyArray_ISNOTSWAPPED(array)) Py_RETURN_NONE;
    const char *data = PyArray_BYTES(array);
    const auto count = static_cast<size_t>(PyArray_SIZE(array));
    switch (PyArray_TYPE(array)) {
        case NPY_HALF: return PyBool_FromLong(all_finite_bits<uint16_t, 0x7c00>(data, count));
        case NPY_FLOAT: return PyBool_FromLong(all_finite_bits<uint32_t, 0x7f800000>(data, count));
        case NPY_DOUBLE: return PyBool_FromLong(all_finite_bits<uint64_t, 0x7ff0000000000000>(data, count));
        default: Py_RETURN_NONE;
    }
}

}  // namespace stablesoftmax
