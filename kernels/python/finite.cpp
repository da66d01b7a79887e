// Whether an array is finite throughout: what a watched program is asked after every line, at a tenth of what a
// ufunc's call costs.
#include "../finite.hpp"

#include "binding.hpp"

namespace stablesoftmax {

// None: of a dtype or a layout that this does not know.
PyObject *all_finite(PyObject *, PyObject *object) {
    if (!PyArray_CheckExact(object)) Py_RETURN_NONE;
    auto *array = reinterpret_cast<PyArrayObject *>(object);
    Format format;
    if (!PyArray_ISONESEGMENT(array) || !format_of(PyArray_DESCR(array), &format)) Py_RETURN_NONE;
    return PyBool_FromLong(all_finite(format, PyArray_BYTES(array), static_cast<size_t>(PyArray_SIZE(array))));
}

}  // namespace stablesoftmax
