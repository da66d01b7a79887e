// What the bindings share. This folder alone knows Python: it turns arrays into pointers, lengths and
// strides, and checks that the kernels may follow them.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define NPY_NO_DEPRECATED_API NPY_1_22_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL stablesoftmax_numpy
#ifndef IMPORTS_NUMPY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include "../plan.hpp"

namespace stablesoftmax {

extern const Kernels *kernels;            // of the level in use
extern PyArray_Descr *bfloat16_descr;  // ml_dtypes' own, once the Python side has met it

// Asked between slices of a long call, on the calling thread, without the GIL.
bool may_continue();

// False, with no exception set: not a dtype that the kernels know, or not in native byte order.
bool format_of(PyArray_Descr *, Format *);

// The others return false with an exception set.
bool format_named(const char *name, Format *);
// An array of `ndim` dimensions of `item` bytes that a kernel can read.
bool check(const char *name, PyArrayObject *, int ndim, size_t item);
bool same_shape(const char *name, PyArrayObject *, PyArrayObject *x);

// Set what a job's x and where say: `job->format` is given; the last axis of x is the row.
bool describe(Job *job, PyArrayObject *x, PyObject *where);

void set_strides(ptrdiff_t *strides, PyArrayObject *, int ndim);

// None, or a float64 array of one number a row.
bool set_temperature(Job *, PyObject *temperature, PyArrayObject *x);

// Methods of the module.
PyObject *entry(PyObject *, PyObject *function);
PyObject *apply(PyObject *, PyObject *args);
PyObject *find_undefined(PyObject *, PyObject *args);
PyObject *apply_segments(PyObject *, PyObject *args);
PyObject *apply_indptr(PyObject *, PyObject *args);
PyObject *cross_entropy(PyObject *, PyObject *args);
PyObject *selected_log_softmax(PyObject *, PyObject *args);
PyObject *logcumsumexp(PyObject *, PyObject *args);
PyObject *entropy(PyObject *, PyObject *args);
PyObject *kl_divergence(PyObject *, PyObject *args);
PyObject *product(PyObject *, PyObject *args);
PyObject *weighted_logsumexp(PyObject *, PyObject *args);
PyObject *draw(PyObject *, PyObject *args);
PyObject *total(PyObject *, PyObject *array);
PyObject *all_finite(PyObject *, PyObject *array);

// Make the compiled entry's type. False: with an exception set.
bool add_entry(PyObject *module);

}  // namespace stablesoftmax
