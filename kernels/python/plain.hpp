// The calls that need no Python: arguments read, seen as rows, computed and wrapped.
#pragma once

#include "binding.hpp"

namespace stablesoftmax {

// What a public function takes, and what computes it.
struct Signature;
const Signature *signature_of(const char *function);

// Null with an exception set: it failed. Null without one: not plain, or not right, which the function in
// Python decides; nothing was written.
PyObject *plain_call(const Signature &, PyObject *const *args, size_t nargsf, PyObject *names);

// `sample`, which needs more than arrays.
struct Arguments;
PyObject *sampling(const Arguments &);

// Once, before the first call. False: with an exception set.
bool intern_parameters();
bool intern_generator();

}  // namespace stablesoftmax
