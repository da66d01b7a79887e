// `apply` and `first_undefined`: the kernels for the calls that the compiled entry declines.
#include "binding.hpp"

namespace stablesoftmax {
PyObject *apply(PyObject *, PyObject *args) {
    int operation, undefined;
    const char *dtype;
    PyArrayObject *x, *out;
    PyObject *where, *temperature;
    Job job{};
    if (!PyArg_ParseTuple(args, "isO!O!OOi:apply", &operation, &dtype, &PyArray_Type, &x, &PyArray_Type, &out,
                          &where, &temperature, &undefined) ||
        !format_named(dtype, &job.format))
        return nullptr;
    if (operation < 0 || operation > 2 || undefined < 0 || undefined > 2)
        return PyErr_Format(PyExc_ValueError, "op, undefined: %d, %d; expected 0 to 2", operation, undefined);
    job.operation = static_cast<Operation>(operation);
    job.undefined = static_cast<Undefined>(undefined);
    if (!describe(&job, x, where)) return nullptr;

    const bool reduces = job.operation == Operation::logsumexp;
    const int batch = job.dimensions;
    if (!check("out", out, batch + !reduces, item_size(job.format)) || !same_shape("out", out, x)) return nullptr;
    if (PyArray_FailUnlessWriteable(out, "out") < 0) return nullptr;
    job.y = PyArray_BYTES(out);
    job.y_step = reduces ? 0 : PyArray_STRIDE(out, batch);
    set_strides(job.y_stride, out, batch);

    if (temperature != Py_None) {
        auto *t = reinterpret_cast<PyArrayObject *>(temperature);
        if (!PyArray_Check(temperature) || PyArray_TYPE(t) != NPY_DOUBLE)
            return PyErr_Format(PyExc_TypeError, "temperature: expected None or a float64 array");
        if (!check("temperature", t, batch, sizeof(double)) || !same_shape("temperature", t, x)) return nullptr;
        job.temperature = PyArray_BYTES(t);
        set_strides(job.temperature_stride, t, batch);
    }

    bool finished;
    Py_BEGIN_ALLOW_THREADS;
    finished = run(*kernels, job, may_continue);
    Py_END_ALLOW_THREADS;
    if (!finished) return nullptr;
    Py_RETURN_NONE;
}

PyObject *find_undefined(PyObject *, PyObject *args) {
    const char *dtype;
    PyArrayObject *x;
    PyObject *where;
    Job job{};
    if (!PyArg_ParseTuple(args, "sO!O:first_undefined", &dtype, &PyArray_Type, &x, &where) ||
        !format_named(dtype, &job.format) || !describe(&job, x, where))
        return nullptr;
    ptrdiff_t row;
    Py_BEGIN_ALLOW_THREADS;
    row = first_undefined(*kernels, job);
    Py_END_ALLOW_THREADS;
    return PyLong_FromSsize_t(row);
}

}  // namespace stablesoftmax
