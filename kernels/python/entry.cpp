// `Entry` is a callable that answers the plain call itself (an exact, contiguous NumPy array of a
// native dtype, nothing but an axis and perhaps `out`) and hands every other call to the Python function
// that it wraps.
#include "binding.hpp"
#include <structmember.h>

#include <initializer_list>

namespace stablesoftmax {
namespace {

constexpr npy_intp release_gil_above = 1 << 14;  // elements
constexpr npy_intp small_call_below = 1 << 15;   // elements: no threads, nothing to poll for

// The names of the parameters that the compiled entry knows, interned once.
PyObject *name_axis, *name_out;

struct Entry {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *function;
    PyObject *dict;
    PyObject *weakrefs;  // jax.jit remembers functions by them
    Operation operation;
};

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
bool read_axis(const Entry *entry, const PlainCall &call, int *axis) {
    const int ndim = PyArray_NDIM(call.x);
    const bool reduces = entry->operation == Operation::logsumexp;
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

PyObject *wrapped_call(Entry *entry, PyObject *const *args, size_t nargsf, PyObject *names) {
    return PyObject_Vectorcall(entry->function, args, nargsf, names);
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

PyObject *entry_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *names) {
    auto *entry = reinterpret_cast<Entry *>(self);
    PlainCall call;
    Format format;
    int axis;
    if (!read_arguments(args, nargsf, names, &call) || !PyArray_IS_C_CONTIGUOUS(call.x) ||
        !PyArray_ISALIGNED(call.x) || !format_of(PyArray_DESCR(call.x), &format) || !read_axis(entry, call, &axis))
        return wrapped_call(entry, args, nargsf, names);

    const bool reduces = entry->operation == Operation::logsumexp;
    const int ndim = PyArray_NDIM(call.x);
    const npy_intp *dims = PyArray_DIMS(call.x);
    npy_intp shape[NPY_MAXDIMS], outer = 1, inner = 1;
    int kept = 0;
    for (int d = 0; d < ndim; ++d) {
        if (d < axis) outer *= dims[d];
        if (d > axis) inner *= dims[d];
        if (!reduces || d != axis) shape[kept++] = dims[d];
    }
    if (call.out && !fits(call, kept, shape)) return wrapped_call(entry, args, nargsf, names);

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
    if (!compute(entry->operation, format, call.x, result, slab)) {
        Py_DECREF(result);
        return nullptr;
    }
    return call.out ? reinterpret_cast<PyObject *>(result) : PyArray_Return(result);
}

int entry_traverse(PyObject *self, visitproc visit, void *arg) {
    auto *entry = reinterpret_cast<Entry *>(self);
    Py_VISIT(entry->function);
    Py_VISIT(entry->dict);
    return 0;
}

int entry_clear(PyObject *self) {
    auto *entry = reinterpret_cast<Entry *>(self);
    Py_CLEAR(entry->function);
    Py_CLEAR(entry->dict);
    return 0;
}

void entry_dealloc(PyObject *self) {
    PyObject_GC_UnTrack(self);
    if (reinterpret_cast<Entry *>(self)->weakrefs) PyObject_ClearWeakRefs(self);
    entry_clear(self);
    PyObject_GC_Del(self);
}

PyObject *entry_repr(PyObject *self) {
    return PyUnicode_FromFormat("<function %S>", PyDict_GetItemString(reinterpret_cast<Entry *>(self)->dict, "__qualname__"));
}

// Methods of a class bind, as those of a function do; pydoc and inspect take it for a routine.
PyObject *entry_get(PyObject *self, PyObject *object, PyObject *) {
    if (!object || object == Py_None) return Py_NewRef(self);
    return PyMethod_New(self, object);
}

// Pickled by name, as a function is.
PyObject *entry_reduce(PyObject *self, PyObject *) { return PyObject_GetAttrString(self, "__qualname__"); }

PyMethodDef entry_methods[] = {
    {"__reduce__", entry_reduce, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyMemberDef entry_members[] = {
    {"__wrapped__", T_OBJECT, offsetof(Entry, function), READONLY, nullptr},
    {"__dictoffset__", T_PYSSIZET, offsetof(Entry, dict), READONLY, nullptr},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Entry, weakrefs), READONLY, nullptr},
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Entry, vectorcall), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyGetSetDef entry_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot entry_slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void *>(entry_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void *>(entry_traverse)},
    {Py_tp_clear, reinterpret_cast<void *>(entry_clear)},
    {Py_tp_call, reinterpret_cast<void *>(PyVectorcall_Call)},
    {Py_tp_repr, reinterpret_cast<void *>(entry_repr)},
    {Py_tp_descr_get, reinterpret_cast<void *>(entry_get)},
    {Py_tp_methods, entry_methods},
    {Py_tp_members, entry_members},
    {Py_tp_getset, entry_getset},
    {0, nullptr},
};

PyType_Spec entry_spec = {
    "stablesoftmax._core.Entry", sizeof(Entry), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR |
        Py_TPFLAGS_DISALLOW_INSTANTIATION,
    entry_slots};

PyTypeObject *entry_type;

bool copy_attribute(Entry *entry, const char *name) {
    PyObject *value = PyObject_GetAttrString(entry->function, name);
    if (!value) return false;
    bool stored = PyDict_SetItemString(entry->dict, name, value) == 0;
    Py_DECREF(value);
    return stored;
}

}  // namespace

PyObject *entry(PyObject *, PyObject *args) {
    PyObject *function;
    int operation;
    if (!PyArg_ParseTuple(args, "Oi:entry", &function, &operation)) return nullptr;
    if (operation < 0 || operation >= static_cast<int>(operations))
        return PyErr_Format(PyExc_ValueError, "operation: %d; expected 0 to %d", operation, static_cast<int>(operations) - 1);
    auto *entry = PyObject_GC_New(Entry, entry_type);
    if (!entry) return nullptr;
    entry->vectorcall = entry_call;
    entry->function = Py_NewRef(function);
    entry->weakrefs = nullptr;
    entry->operation = static_cast<Operation>(operation);
    entry->dict = PyDict_New();
    PyObject_GC_Track(reinterpret_cast<PyObject *>(entry));
    bool complete = entry->dict;
    for (const char *name : {"__name__", "__qualname__", "__module__", "__doc__", "__annotations__"})
        complete = complete && copy_attribute(entry, name);
    if (!complete) Py_CLEAR(entry);
    return reinterpret_cast<PyObject *>(entry);
}

bool add_entry(PyObject *module) {
    name_axis = PyUnicode_InternFromString("axis");
    name_out = PyUnicode_InternFromString("out");
    entry_type = reinterpret_cast<PyTypeObject *>(PyType_FromModuleAndSpec(module, &entry_spec, nullptr));
    return name_axis && name_out && entry_type && PyModule_AddType(module, entry_type) == 0;
}

}  // namespace stablesoftmax
