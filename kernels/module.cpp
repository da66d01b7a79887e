// The front door: the only file that knows Python.
//
// `FrontDoor` is a callable that answers the plain call itself (an exact, contiguous NumPy
// array of a native dtype, nothing but an axis and perhaps `out`) and hands every other call to the
// Python function that it wraps. `apply` and `first_undefined` are the kernels for those.
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#define NPY_NO_DEPRECATED_API NPY_1_22_API_VERSION
#include <numpy/arrayobject.h>

#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "parallel.hpp"
#include "plan.hpp"

using namespace stablesoftmax;

namespace {

const Kernels *kernels = nullptr;
PyArray_Descr *bfloat16_descr = nullptr;  // ml_dtypes' own, once the Python side has met it

constexpr npy_intp release_gil_above = 1 << 14;  // elements
constexpr npy_intp small_call_below = 1 << 15;   // elements: no threads, nothing to poll for

// Asked between slices of a long call, on the calling thread, without the GIL.
bool may_continue() {
    PyGILState_STATE state = PyGILState_Ensure();
    bool fine = PyErr_CheckSignals() == 0;
    PyGILState_Release(state);
    return fine;
}

// ---------------------------------------------------------------------------------------------
// The front door

// The names of the parameters that the front door knows, interned once.
PyObject *name_axis, *name_out;

struct FrontDoor {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *function;
    PyObject *dict;
    Operation operation;
};

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

// What a plain call asks for.
struct PlainCall {
    PyArrayObject *x = nullptr, *out = nullptr;
    PyObject *axis = nullptr;
};

// x, axis and out, all else absent. False: not a plain call.
bool read_arguments(PyObject *const *args, size_t nargsf, PyObject *names, PlainCall *call) {
    const Py_ssize_t positional = PyVectorcall_NARGS(nargsf);
    if (positional < 1 || positional > 2 || !PyArray_CheckExact(args[0])) return false;
    call->x = reinterpret_cast<PyArrayObject *>(args[0]);
    if (positional == 2) call->axis = args[1];
    const Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
    for (Py_ssize_t k = 0; k < named; ++k) {
        PyObject *name = PyTuple_GET_ITEM(names, k), *value = args[positional + k];
        if (name == name_axis && !call->axis) {
            call->axis = value;
        } else if (name == name_out) {
            if (value == Py_None) continue;
            if (!PyArray_CheckExact(value)) return false;
            call->out = reinterpret_cast<PyArrayObject *>(value);
        } else {
            return false;
        }
    }
    return true;
}

// The axis as a dimension of x; -1 for all of a one-dimensional array. False: let Python decide.
bool read_axis(const FrontDoor *door, const PlainCall &call, int *axis) {
    const int ndim = PyArray_NDIM(call.x);
    const bool reduces = door->operation == Operation::logsumexp;
    if (ndim == 0) return false;
    if (!call.axis) {  // the default: all for logsumexp, the last for the others
        *axis = ndim - 1;
        return !reduces || ndim == 1;
    }
    if (call.axis == Py_None) {
        *axis = 0;
        return ndim == 1;
    }
    if (!PyLong_CheckExact(call.axis)) return false;
    long value = PyLong_AsLong(call.axis);
    if (value == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        return false;
    }
    if (value < -ndim || value >= ndim) return false;
    *axis = static_cast<int>(value < 0 ? value + ndim : value);
    return true;
}

// A plain array that may be written: same dtype and shape as the result, x itself or apart from it.
bool fits(const PlainCall &call, int ndim, const npy_intp *shape) {
    PyArrayObject *out = call.out;
    if (PyArray_NDIM(out) != ndim || !PyArray_CompareLists(PyArray_DIMS(out), shape, ndim)) return false;
    if (PyArray_DESCR(out) != PyArray_DESCR(call.x) || !PyArray_ISCARRAY(out)) return false;
    const char *x = PyArray_BYTES(call.x), *y = PyArray_BYTES(out);
    if (x == y) return ndim == PyArray_NDIM(call.x);
    return y + PyArray_NBYTES(out) <= x || x + PyArray_NBYTES(call.x) <= y;
}

PyObject *wrapped_call(FrontDoor *door, PyObject *const *args, size_t nargsf, PyObject *names) {
    return PyObject_Vectorcall(door->function, args, nargsf, names);
}

// False: interrupted, with an exception set.
bool compute(Operation operation, Format format, PyArrayObject *x, PyArrayObject *result, Slab slab) {
    const npy_intp size = PyArray_SIZE(x);
    const char *from = PyArray_BYTES(x);
    char *to = PyArray_BYTES(result);
    PyThreadState *released = size > release_gil_above ? PyEval_SaveThread() : nullptr;
    bool finished = true;
    if (size < small_call_below)
        run_small(*kernels, operation, format, from, to, slab);
    else
        finished = run_large(*kernels, operation, format, from, to, slab, may_continue);
    if (released) PyEval_RestoreThread(released);
    return finished;
}

PyObject *front_door_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *names) {
    auto *door = reinterpret_cast<FrontDoor *>(self);
    PlainCall call;
    Format format;
    int axis;
    if (!read_arguments(args, nargsf, names, &call) || !PyArray_IS_C_CONTIGUOUS(call.x) ||
        !PyArray_ISALIGNED(call.x) || !format_of(PyArray_DESCR(call.x), &format) || !read_axis(door, call, &axis))
        return wrapped_call(door, args, nargsf, names);

    const bool reduces = door->operation == Operation::logsumexp;
    const int ndim = PyArray_NDIM(call.x);
    const npy_intp *dims = PyArray_DIMS(call.x);
    npy_intp shape[NPY_MAXDIMS], outer = 1, inner = 1;
    int kept = 0;
    for (int d = 0; d < ndim; ++d) {
        if (d < axis) outer *= dims[d];
        if (d > axis) inner *= dims[d];
        if (!reduces || d != axis) shape[kept++] = dims[d];
    }
    if (call.out && !fits(call, kept, shape)) return wrapped_call(door, args, nargsf, names);

    PyArrayObject *result = call.out;
    if (result) {
        Py_INCREF(result);
    } else {
        Py_INCREF(PyArray_DESCR(call.x));
        result = reinterpret_cast<PyArrayObject *>(PyArray_NewFromDescr(
            &PyArray_Type, PyArray_DESCR(call.x), kept, shape, nullptr, nullptr, 0, nullptr));
        if (!result) return nullptr;
    }
    const Slab slab{static_cast<size_t>(outer), static_cast<size_t>(dims[axis]), static_cast<size_t>(inner)};
    if (!compute(door->operation, format, call.x, result, slab)) {
        Py_DECREF(result);
        return nullptr;
    }
    return call.out ? reinterpret_cast<PyObject *>(result) : PyArray_Return(result);
}

int front_door_traverse(PyObject *self, visitproc visit, void *arg) {
    auto *door = reinterpret_cast<FrontDoor *>(self);
    Py_VISIT(door->function);
    Py_VISIT(door->dict);
    return 0;
}

int front_door_clear(PyObject *self) {
    auto *door = reinterpret_cast<FrontDoor *>(self);
    Py_CLEAR(door->function);
    Py_CLEAR(door->dict);
    return 0;
}

void front_door_dealloc(PyObject *self) {
    PyObject_GC_UnTrack(self);
    front_door_clear(self);
    PyObject_GC_Del(self);
}

PyObject *front_door_repr(PyObject *self) {
    return PyUnicode_FromFormat("<function %S>", PyDict_GetItemString(reinterpret_cast<FrontDoor *>(self)->dict, "__qualname__"));
}

// Methods of a class bind, as those of a function do; pydoc and inspect take it for a routine.
PyObject *front_door_get(PyObject *self, PyObject *object, PyObject *) {
    if (!object || object == Py_None) return Py_NewRef(self);
    return PyMethod_New(self, object);
}

// Pickled by name, as a function is.
PyObject *front_door_reduce(PyObject *self, PyObject *) { return PyObject_GetAttrString(self, "__qualname__"); }

PyMethodDef front_door_methods[] = {
    {"__reduce__", front_door_reduce, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyMemberDef front_door_members[] = {
    {"__wrapped__", T_OBJECT, offsetof(FrontDoor, function), READONLY, nullptr},
    {"__dictoffset__", T_PYSSIZET, offsetof(FrontDoor, dict), READONLY, nullptr},
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(FrontDoor, vectorcall), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyGetSetDef front_door_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot front_door_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void *>(front_door_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void *>(front_door_traverse)},
    {Py_tp_clear, reinterpret_cast<void *>(front_door_clear)},
    {Py_tp_call, reinterpret_cast<void *>(PyVectorcall_Call)},
    {Py_tp_repr, reinterpret_cast<void *>(front_door_repr)},
    {Py_tp_descr_get, reinterpret_cast<void *>(front_door_get)},
    {Py_tp_methods, front_door_methods},
    {Py_tp_members, front_door_members},
    {Py_tp_getset, front_door_getset},
    {0, nullptr},
};

PyType_Spec front_door_spec = {
    "stablesoftmax._core.FrontDoor", sizeof(FrontDoor), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR |
        Py_TPFLAGS_DISALLOW_INSTANTIATION,
    front_door_slots};

PyTypeObject *front_door_type;

bool copy_attribute(FrontDoor *door, const char *name) {
    PyObject *value = PyObject_GetAttrString(door->function, name);
    if (!value) return false;
    bool stored = PyDict_SetItemString(door->dict, name, value) == 0;
    Py_DECREF(value);
    return stored;
}

PyObject *front_door(PyObject *, PyObject *args) {
    PyObject *function;
    int operation;
    if (!PyArg_ParseTuple(args, "Oi:front_door", &function, &operation)) return nullptr;
    if (operation < 0 || operation >= static_cast<int>(operations))
        return PyErr_Format(PyExc_ValueError, "operation: %d; expected 0 to %d", operation, static_cast<int>(operations) - 1);
    auto *door = PyObject_GC_New(FrontDoor, front_door_type);
    if (!door) return nullptr;
    door->vectorcall = front_door_call;
    door->function = Py_NewRef(function);
    door->operation = static_cast<Operation>(operation);
    door->dict = PyDict_New();
    PyObject_GC_Track(reinterpret_cast<PyObject *>(door));
    bool complete = door->dict;
    for (const char *name : {"__name__", "__qualname__", "__module__", "__doc__"})
        complete = complete && copy_attribute(door, name);
    if (!complete) Py_CLEAR(door);
    return reinterpret_cast<PyObject *>(door);
}

// ---------------------------------------------------------------------------------------------
// The kernels for Python

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

// An array of `ndim` dimensions of `item` bytes that a kernel can read.
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

// x and where, common to both functions.
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
    {"front_door", front_door, METH_VARARGS, nullptr},
    {"apply", apply, METH_VARARGS, nullptr},
    {"first_undefined", find_undefined, METH_VARARGS, nullptr},
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
    name_axis = PyUnicode_InternFromString("axis");
    name_out = PyUnicode_InternFromString("out");
    front_door_type = reinterpret_cast<PyTypeObject *>(PyType_FromModuleAndSpec(module, &front_door_spec, nullptr));
    if (!name_axis || !name_out || !front_door_type) return -1;
    if (PyModule_AddIntConstant(module, "SOFTMAX", static_cast<long>(Operation::softmax)) < 0 ||
        PyModule_AddIntConstant(module, "LOG_SOFTMAX", static_cast<long>(Operation::log_softmax)) < 0 ||
        PyModule_AddIntConstant(module, "LOGSUMEXP", static_cast<long>(Operation::logsumexp)) < 0)
        return -1;
    return PyModule_AddType(module, front_door_type);
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
