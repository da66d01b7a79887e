#include "binding.hpp"

#include <cstring>

namespace stablesoftmax {

const Kernels *kernels = nullptr;
PyArray_Descr *bfloat16_descr = nullptr;

bool may_continue() {
    PyGILState_STATE state = PyGILState_Ensure();
    bool fine = PyErr_CheckSignals() == 0;
    PyGILState_Release(state);
    return fine;
}

bool format_of(PyArray_Descr *descr, Format *format) {
    switch (descr->type_num) {
        case NPY_FLOAT: *format = Format::float32; break;
        case NPY_DOUBLE: *format = Format::float64; break;
        case NPY_HALF: *format = Format::float16; break;
        default:
            if (descr != bfloat16_descr) return false;
            *format = Format::bfloat16;
            return true;
    }
    return PyArray_ISNBO(descr->byteorder);
}

bool format_named(const char *name, Format *format) {
    static const char *names[formats] = {"float32", "float64", "float16", "bfloat16"};
    for (size_t k = 0; k < formats; ++k)
        if (!std::strcmp(name, names[k])) {
            *format = static_cast<Format>(k);
            return true;
        }
    PyErr_Format(PyExc_ValueError, "dtype: '%s'; expected float32, float64, float16 or bfloat16", name);
    return false;
}

bool check(const char *name, PyArrayObject *array, int ndim, size_t item) {
    if (PyArray_NDIM(array) != ndim || static_cast<size_t>(PyArray_ITEMSIZE(array)) != item ||
        !PyArray_ISALIGNED(array) || !PyArray_ISNOTSWAPPED(array)) {
        PyErr_Format(PyExc_ValueError, "%s: %d dimensions of %zd bytes; expected %d, %zd bytes, aligned, native",
                     name, PyArray_NDIM(array), static_cast<Py_ssize_t>(PyArray_ITEMSIZE(array)), ndim,
                     static_cast<Py_ssize_t>(item));
        return false;
    }
    return true;
}

bool same_shape(const char *name, PyArrayObject *array, PyArrayObject *x) {
    if (PyArray_CompareLists(PyArray_DIMS(array), PyArray_DIMS(x), PyArray_NDIM(array))) return true;
    PyErr_Format(PyExc_ValueError, "%s: its shape does not match that of x", name);
    return false;
}

void set_strides(ptrdiff_t *strides, PyArrayObject *array, int ndim) {
    for (int d = 0; d < ndim; ++d) strides[d] = PyArray_STRIDE(array, d);
}

bool describe(Job *job, PyArrayObject *x, PyObject *where) {
    const int ndim = PyArray_NDIM(x);
    if (ndim < 1) {
        PyErr_SetString(PyExc_ValueError, "x: 0 dimensions; expected at least 1");
        return false;
    }
    if (!check("x", x, ndim, item_size(job->format))) return false;
    job->dimensions = ndim - 1;
    for (int d = 0; d < ndim - 1; ++d) job->shape[d] = static_cast<size_t>(PyArray_DIM(x, d));
    job->length = static_cast<size_t>(PyArray_DIM(x, ndim - 1));
    job->x = PyArray_BYTES(x);
    job->x_step = PyArray_STRIDE(x, ndim - 1);
    set_strides(job->x_stride, x, ndim - 1);
    if (where == Py_None) return true;
    auto *mask = reinterpret_cast<PyArrayObject *>(where);
    if (!PyArray_Check(where) || PyArray_TYPE(mask) != NPY_BOOL) {
        PyErr_SetString(PyExc_TypeError, "where: expected None or a bool array");
        return false;
    }
    if (!check("where", mask, ndim, 1) || !same_shape("where", mask, x)) return false;
    job->where = PyArray_BYTES(mask);
    job->where_step = PyArray_STRIDE(mask, ndim - 1);
    set_strides(job->where_stride, mask, ndim - 1);
    return true;
}

// None, or float64 numbers of the shape of the batch.
bool set_temperature(Job *job, PyObject *temperature, PyArrayObject *x) {
    if (temperature == Py_None) return true;
    auto *t = reinterpret_cast<PyArrayObject *>(temperature);
    if (!PyArray_Check(temperature) || PyArray_TYPE(t) != NPY_DOUBLE) {
        PyErr_SetString(PyExc_TypeError, "temperature: expected None or a float64 array");
        return false;
    }
    if (!check("temperature", t, job->dimensions, sizeof(double)) || !same_shape("temperature", t, x)) return false;
    job->temperature = PyArray_BYTES(t);
    set_strides(job->temperature_stride, t, job->dimensions);
    return true;
}

}  // namespace stablesoftmax
