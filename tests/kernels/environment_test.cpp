// Whatever rounding and flushing the caller has set, the results are the same, and the caller finds
// its settings and its exception flags as it left them.
#include <cstring>

#include "batch.hpp"
#include "check.hpp"
#include "parallel.hpp"
#include "plan.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace stablesoftmax;

namespace {

// The control register, and the register that holds the exception flags: one and the same on x86.
struct Environment {
    unsigned long control, flags;

    bool operator==(Environment other) const { return control == other.control && flags == other.flags; }
#if defined(__x86_64__)
    static Environment now() { return {_mm_getcsr(), 0}; }
    void set() const { _mm_setcsr(static_cast<unsigned>(control)); }
#else
    static Environment now() {
        Environment e;
        __asm__ volatile("mrs %0, fpcr\n\tmrs %1, fpsr" : "=r"(e.control), "=r"(e.flags));
        return e;
    }
    void set() const { __asm__ volatile("msr fpcr, %0\n\tmsr fpsr, %1" : : "r"(control), "r"(flags)); }
#endif
};

#if defined(__x86_64__)
constexpr Environment usual{0x1f80, 0};
constexpr Environment hostile{0x1f80 | 0x8000 | 0x2000 | 0x0040, 0};  // flush to zero, round down, denormals are zero
#else
constexpr Environment usual{0, 0};
constexpr Environment hostile{1ul << 24 | 2ul << 22, 0};  // flush to zero, round down
#endif

// Call f in the given environment; true if it was the same afterwards. Nothing else runs in it.
template <class Function>
bool leaves(const Environment &given, Function f) {
    given.set();
    f();
    const Environment after = Environment::now();
    usual.set();
    return after == given;
}

Bytes run_job(const Kernels &kernels, Operation operation, const Batch &batch, size_t threads,
              const Environment &environment) {
    Bytes y(result_bytes(operation, batch));
    set_thread_count(threads);
    Job job = contiguous_job(operation, batch, y.data());
    CHECK(leaves(environment, [&] { run(kernels, job, nullptr); }), "run, %zu threads", threads);
    return y;
}

Bytes run_at_once(const Kernels &kernels, Operation operation, const Batch &batch, const Environment &environment) {
    Bytes y(result_bytes(operation, batch));
    const Slab slab{batch.count, batch.length, 1};
    CHECK(leaves(environment,
                 [&] { run_small(kernels, operation, batch.format, batch.bytes.data(), y.data(), slab); }),
          "run_small");
    return y;
}

void name(const Kernels &kernels, Operation operation, Format format, const char *what) {
    std::snprintf(scene, sizeof scene, "%s %s %s %s", kernels.name, operation_names[static_cast<size_t>(operation)],
                  format_names[static_cast<size_t>(format)], what);
}

// Rows for one thread, then for several. The pool's threads are made here, by a hostile caller.
void test_batches(const Kernels &kernels, Operation operation, Format format) {
    std::mt19937_64 random(1);
    const Batch small = batch_of_families(format, 100, random), large = batch_of_families(format, 10000, random);
    name(kernels, operation, format, "batch");
    const Bytes of_small = run_job(kernels, operation, small, 1, usual);
    CHECK(run_job(kernels, operation, small, 1, hostile) == of_small, "other bits");
    CHECK(run_at_once(kernels, operation, small, hostile) == of_small, "other bits, run_small");
    const Bytes of_large = run_job(kernels, operation, large, 1, usual);
    CHECK(run_job(kernels, operation, large, 3, hostile) == of_large, "other bits, 3 threads");
}

// A row that is cut into parts for the threads.
void test_long_row(const Kernels &kernels, Operation operation, Format format, Family family) {
    std::mt19937_64 random(2);
    Batch row(format, 1, (1 << 17) + 1);
    fill_row(row, 0, family, random);
    name(kernels, operation, format, "long row");
    const Bytes expected = run_job(kernels, operation, row, 1, usual);
    CHECK(run_job(kernels, operation, row, 3, hostile) == expected, "family %d: other bits", family);
}

void test_first_undefined(const Kernels &kernels, Format format) {
    std::mt19937_64 random(1);
    const Batch batch = batch_of_families(format, 100, random);
    const Job job = contiguous_job(Operation::softmax, batch, nullptr);
    std::snprintf(scene, sizeof scene, "%s %s", kernels.name, format_names[static_cast<size_t>(format)]);
    ptrdiff_t found = -1;
    CHECK(leaves(hostile, [&] { found = first_undefined(kernels, job); }), "first_undefined");
    CHECK(found == all_nothing, "first_undefined: %td, not %d", found, all_nothing);
}

}  // namespace

int main() {
    for_levels([](const Kernels &kernels) {
        for (Format format : {Format::float32, Format::float64, Format::float16, Format::bfloat16}) {
            test_first_undefined(kernels, format);
            for (Operation operation : {Operation::softmax, Operation::log_softmax, Operation::logsumexp}) {
                test_batches(kernels, operation, format);
                for (Family family : {balanced, deep, late_maximum}) test_long_row(kernels, operation, format, family);
            }
        }
    });
    return report();
}
