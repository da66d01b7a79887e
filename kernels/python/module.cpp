// The extension module `_core`: its methods, and what it does at import.
#define IMPORTS_NUMPY
#include "binding.hpp"

#include <cstdlib>

#include "../parallel.hpp"

using namespace stablesoftmax;

namespace {

PyObject *register_bfloat16(PyObject *, PyObject *dtype) {
    if (!PyArray_DescrCheck(dtype) || PyDataType_ELSIZE(reinterpret_cast<PyArray_Descr *>(dtype)) != 2)
        return PyErr_Format(PyExc_TypeError, "dtype: %R; expected ml_dtypes' bfloat16", dtype);
    Py_XSETREF(bfloat16_descr, reinterpret_cast<PyArray_Descr *>(Py_NewRef(dtype)));
    Py_RETURN_NONE;
}

PyObject *get_num_threads(PyObject *, PyObject *) { return PyLong_FromSize_t(thread_count()); }

PyObject *set_num_threads(PyObject *, PyObject *number) {
    const long count = PyLong_AsLong(number);
    if (count == -1 && PyErr_Occurred()) return nullptr;
    if (count < 1) return PyErr_Format(PyExc_ValueError, "n: %ld; expected at least 1", count);
    set_thread_count(static_cast<size_t>(count));
    Py_RETURN_NONE;
}

PyObject *isa(PyObject *, PyObject *) { return PyUnicode_FromString(kernels->name); }

PyMethodDef methods[] = {
    {"entry", entry, METH_O, nullptr},
    {"apply", apply, METH_VARARGS, nullptr},
    {"first_undefined", find_undefined, METH_VARARGS, nullptr},
    {"apply_segments", apply_segments, METH_VARARGS, nullptr},
    {"apply_indptr", apply_indptr, METH_VARARGS, nullptr},
    {"cross_entropy", cross_entropy, METH_VARARGS, nullptr},
    {"selected_log_softmax", selected_log_softmax, METH_VARARGS, nullptr},
    {"logcumsumexp", logcumsumexp, METH_VARARGS, nullptr},
    {"entropy", entropy, METH_VARARGS, nullptr},
    {"kl_divergence", kl_divergence, METH_VARARGS, nullptr},
    {"product", product, METH_VARARGS, nullptr},
    {"weighted_logsumexp", weighted_logsumexp, METH_VARARGS, nullptr},
    {"draw", draw, METH_VARARGS, nullptr},
    {"total", total, METH_O, nullptr},
    {"all_finite", all_finite, METH_O, nullptr},
    {"register_bfloat16", register_bfloat16, METH_O, nullptr},
    {"get_num_threads", get_num_threads, METH_NOARGS, nullptr},
    {"set_num_threads", set_num_threads, METH_O, nullptr},
    {"isa", isa, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

int execute(PyObject *module) {
    if (PyArray_ImportNumPyAPI() < 0) return -1;
    const char *error = nullptr, *forced = std::getenv("STABLESOFTMAX_ISA");
    kernels = choose_kernels(forced, &error);
    if (!kernels) {
        PyErr_Format(PyExc_ImportError, "STABLESOFTMAX_ISA: '%s' %s; expected v2, v3, v4 or neon", forced ? forced : "",
                     error);
        return -1;
    }
    prepare_pool();
    if (PyModule_AddIntConstant(module, "SOFTMAX", static_cast<long>(Operation::softmax)) < 0 ||
        PyModule_AddIntConstant(module, "LOG_SOFTMAX", static_cast<long>(Operation::log_softmax)) < 0 ||
        PyModule_AddIntConstant(module, "LOGSUMEXP", static_cast<long>(Operation::logsumexp)) < 0)
        return -1;
    return add_entry(module) ? 0 : -1;
}

PyModuleDef_Slot slots[] = {
    {Py_mod_exec, reinterpret_cast<void *>(execute)},
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, nullptr},
};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_core", nullptr, 0, methods, slots, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__core() { return PyModuleDef_Init(&definition); }

// For threadpoolctl, which looks symbols up in loaded libraries.
#define EXPORTED extern "C" __attribute__((visibility("default")))
EXPORTED int stablesoftmax_get_num_threads() { return static_cast<int>(thread_count()); }
EXPORTED void stablesoftmax_set_num_threads(int count) { set_thread_count(count < 1 ? 1 : static_cast<size_t>(count)); }
EXPORTED const char *stablesoftmax_isa() { return kernels ? kernels->name : ""; }
