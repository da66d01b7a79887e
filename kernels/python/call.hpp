// A call as its arguments are read, one after another, and seen as rows. Each step says false where the
// call is not plain, or not right, and has then changed nothing that outlives it.
#pragma once

#include <utility>

#include "binding.hpp"

namespace stablesoftmax {

constexpr npy_intp small_below = 1 << 15;  // elements: no threads, nothing to poll for; may be copied whole

// An array that is ours to let go.
class Owned {
    PyArrayObject *array = nullptr;

  public:
    Owned() = default;
    Owned(const Owned &) = delete;
    Owned &operator=(const Owned &) = delete;
    ~Owned() { Py_XDECREF(array); }
    void borrow(PyArrayObject *other) { take(reinterpret_cast<PyObject *>(Py_NewRef(other))); }
    void take(PyObject *other) {
        Py_XDECREF(array);
        array = reinterpret_cast<PyArrayObject *>(other);
    }
    PyObject *release() { return reinterpret_cast<PyObject *>(std::exchange(array, nullptr)); }
    operator PyArrayObject *() const { return array; }
};

// What was given, borrowed; null where it was not, or was None where that means the same.
struct Arguments {
    PyObject *x, *axis, *where, *temperature, *out, *dtype, *undefined, *keepdims;
    PyObject *labels, *weight, *ignore_index, *label_smoothing, *reduction, *index, *other;
    PyObject *size, *top_k, *top_p, *min_p, *rng;
};

struct Call {
    const bool reduces;  // one number a row
    Owned x, result, where, temperature;
    Format format = Format::float64;
    Undefined undefined = Undefined::nan;
    double one_temperature = 1;
    bool narrows = false;  // computed in float64, asked for in float32
    bool owns_x = false;   // x is a copy, which may become the result
    bool keepdims = false, given_out = false;
    int ndim = 0, batch = 0;  // dimensions of x; those that are not reduced
    int order[NPY_MAXDIMS];   // the batch's dimensions, then the row's

    explicit Call(bool reduces) : reduces(reduces) {}

    bool take_x(PyObject *);
    bool take_axes(PyObject *axis, bool all_by_default);
    bool take_where(PyObject *);
    bool take_temperature(PyObject *);  // one number, or one a row
    bool take_dtype(PyObject *);
    bool take_options(const Arguments &);  // keepdims, undefined
    bool take_out(PyObject *);

    // x contiguous, the row's axes side by side, and nothing else to heed.
    bool is_slab(Slab *) const;
    // The rows, in any strides, and room for the result. May also fail, with an exception set.
    bool describe(Job *);
    bool describe_rows(Job *);  // without the result
    // An array that broadcasts to x, or of one number a row, to the batch.
    bool describe_vector(Owned *, bool one_a_row, Job *);
    bool make_result();
    bool narrow();

    // The dimensions of a result that has one number a row, or of x.
    int result_shape(npy_intp *shape) const;

  private:
    bool reduced(int dimension) const;
    bool as_doubles();
    bool merges(const npy_intp *strides, npy_intp *step) const;
    bool copy_rows(Owned *) const;
    bool describe_where(Job *) const;
    bool describe_temperature(Job *) const;
    bool describe_result(Job *) const;
};

constexpr npy_intp release_gil_above = 1 << 14;  // elements

// The GIL is held for short calls only. What the work returns.
template <class Work>
auto unlocked(npy_intp size, Work work) {
    PyThreadState *released = size > release_gil_above ? PyEval_SaveThread() : nullptr;
    const auto outcome = work();
    if (released) PyEval_RestoreThread(released);
    return outcome;
}

// What has its classes on one axis takes no other.
inline bool is_one_axis(PyObject *axis) { return !axis || PyLong_CheckExact(axis); }

// An array of this dtype, one number a row: what a reduction returns.
PyObject *new_array(int ndim, const npy_intp *shape, PyArray_Descr *);

}  // namespace stablesoftmax
