// From arrays to kernels: which layout a call has, and how it is cut for the threads.
#pragma once

#include <cmath>

#include "kernels.hpp"

namespace stablesoftmax {

constexpr int max_dimensions = 64;  // NumPy's

// A batch of rows, in byte strides. The row's own axis is `length` and the four steps.
struct Job {
    Operation operation;
    Format format;
    Undefined undefined;
    const char *x;
    char *y;
    const char *where;        // or null
    const char *temperature;  // doubles, one a row; or null
    size_t length;
    ptrdiff_t x_step, y_step, where_step;
    int dimensions;  // of the batch
    size_t shape[max_dimensions];
    ptrdiff_t x_stride[max_dimensions], y_stride[max_dimensions];
    ptrdiff_t where_stride[max_dimensions], temperature_stride[max_dimensions];
    // A second array of x's shape, that products multiply by; or null.
    const char *v;
    Format v_format;
    ptrdiff_t v_step, v_stride[max_dimensions];
};

// Whether to go on; asked every few milliseconds of a long call.
using Poll = bool (*)();

// How a job ended that may fail.
enum class Outcome { finished, stopped, out_of_memory, out_of_range };

// False if `poll` stopped it.
bool run(const Kernels &, Job &, Poll poll);

// The first undefined row of a job in C order (kernels.hpp says which those are), or -1.
ptrdiff_t first_undefined(const Kernels &, const Job &);

// Drop the batch's dimensions of one, and join those that are one in memory. The order of the rows stays.
void simplify(Job &);

// The row that is at `index` of a job's batch, in C order.
Row row_at(const Job &, size_t index);

// Call `each(argument, index, row, context)` for all rows of a job, on as many threads as they are
// worth; `may_cut` says whether a row alone can use several. `room`: bytes for each thread, as the context's
// exponentials, which are null where there is no memory. The job's operation is not asked for. False if `poll`
// stopped it.
using EachRow = void (*)(void *argument, size_t index, const Row &, const Context &);
bool for_rows(Job &, bool may_cut, EachRow each, void *argument, Poll, size_t room = 0);

// Call `each(argument, rows, count, context)` for runs of rows that lie side by side. False as above.
using EachRun = void (*)(void *argument, const ProductRows &, size_t count, const Context &);
bool for_runs(Job &, EachRun each, void *argument, Poll);

// Rows of logits and what they are held against, all in C order of the batch.
struct LossJob {
    Job rows;               // y: the gradients, or null
    Target target;          // what all rows share
    const int64_t *labels;  // one a row, -1 for a row to ignore; or null
    Job targets;            // x: one number a class; or null
    double *loss;           // one a row
};
bool run_loss(const Kernels &, LossJob &, Poll);

// A sum that keeps what each addition rounds off (Neumaier's): of the losses of a batch, the same however
// they were computed. [1e16, 1, -1e16] is 1.
class Total {
    double sum = 0, rest = 0;

  public:
    void add(double value) {
        const double next = sum + value;
        rest += std::fabs(sum) >= std::fabs(value) ? (sum - next) + value : (value - next) + sum;
        sum = next;
    }
    double value() const { return std::isfinite(sum) ? sum + rest : sum; }  // inf - inf in rest
};

// The log-probabilities of `count` elements of each row, to y.
struct SelectJob {
    Job rows;              // y: the first of a row's results, which are contiguous
    const int64_t *index;  // `count` a row
    size_t count;
};
bool run_select(const Kernels &, SelectJob &, Poll);

// The log-sum-exp of every prefix.
bool run_cumulate(const Kernels &, Job &, Poll);

// The entropy of the softmax of each row; y as of logsumexp.
bool run_entropy(const Kernels &, Job &, Poll);

// The Kullback-Leibler divergence of rows of one shape and format.
struct DivergenceJob {
    Job p;  // y as of logsumexp
    Job q;  // its x alone
};
bool run_divergence(const Kernels &, DivergenceJob &, Poll);

// The product of the Jacobian of each row, and of v.
bool run_product(const Kernels &, Product, Job &, Poll);

// The log-sum-exp of each row with weights v. `settled`: false where it is left to the formulas.
bool run_weighted(const Kernels &, Job &, bool *settled, Poll);
// Draws from rows that all have a distribution, which `all_can_draw` finds out.
struct DrawJob {
    Job rows;
    Filter filter;
    int64_t *draws;  // uniform numbers, then what is drawn: number k of row r at k·rows + r
    size_t count;    // a row
};
bool all_can_draw(const Kernels &, Job &, Poll);  // false, too, if `poll` stopped it
Outcome run_draws(const Kernels &, DrawJob &, Poll);

// A contiguous array seen as (outer, length, inner), the axis in the middle.
struct Slab {
    size_t outer, length, inner;
};

// `run` for a contiguous array; and without its bookkeeping, on the calling thread, for calls of a
// few hundred nanoseconds.
bool run_large(const Kernels &, Operation, Format, const char *x, char *y, Slab, Poll poll);
void run_small(const Kernels &, Operation, Format, const char *x, char *y, Slab);

}  // namespace stablesoftmax
