// `Entry` is a callable that answers the plain call itself and hands every other one to the Python
// function that it wraps.
#include "plain.hpp"

#include <structmember.h>

#include <initializer_list>

namespace stablesoftmax {
namespace {

struct Entry {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *function;
    PyObject *dict;
    PyObject *weakrefs;  // jax.jit remembers functions by them
    const Signature *signature;
};

PyObject *entry_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *names) {
    auto *entry = reinterpret_cast<Entry *>(self);
    PyObject *result = plain_call(*entry->signature, args, nargsf, names);
    if (result || PyErr_Occurred()) return result;
    return PyObject_Vectorcall(entry->function, args, nargsf, names);
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

PyObject *entry(PyObject *, PyObject *function) {
    PyObject *name = PyObject_GetAttrString(function, "__name__");
    const char *text = name ? PyUnicode_AsUTF8(name) : nullptr;
    const Signature *signature = text ? signature_of(text) : nullptr;
    if (text && !signature) PyErr_Format(PyExc_ValueError, "python_function: '%s'; expected one with a signature here", text);
    Py_XDECREF(name);
    if (!signature) return nullptr;
    auto *entry = PyObject_GC_New(Entry, entry_type);
    if (!entry) return nullptr;
    entry->vectorcall = entry_call;
    entry->function = Py_NewRef(function);
    entry->weakrefs = nullptr;
    entry->signature = signature;
    entry->dict = PyDict_New();
    PyObject_GC_Track(reinterpret_cast<PyObject *>(entry));
    bool complete = entry->dict;
    for (const char *name : {"__name__", "__qualname__", "__module__", "__doc__", "__annotations__"})
        complete = complete && copy_attribute(entry, name);
    if (!complete) Py_CLEAR(entry);
    return reinterpret_cast<PyObject *>(entry);
}

bool add_entry(PyObject *module) {
    entry_type = reinterpret_cast<PyTypeObject *>(PyType_FromModuleAndSpec(module, &entry_spec, nullptr));
    return intern_parameters() && intern_generator() && entry_type && PyModule_AddType(module, entry_type) == 0;
}

}  // namespace stablesoftmax
