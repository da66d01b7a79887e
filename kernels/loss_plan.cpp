// The jobs of what is computed row by row: losses, selections, scans, entropies, products; which kernel, and with what.
#include <atomic>

#include "plan.hpp"

namespace stablesoftmax {
namespace {

// What a row's call needs beside the row.
template <class Kernel, class Work>
struct Task {
    Kernel kernel;
    const Work &work;
};

template <class Kernel, class Work>
bool run_rows(Kernel kernel, const Work &work, Job &rows, bool may_cut, EachRow each, Poll poll) {
    Task<Kernel, Work> task{kernel, work};
    return for_rows(rows, may_cut, each, &task, poll);
}

void loss_of(void *argument, size_t index, const Row &row, const Context &context) {
    const auto &task = *static_cast<Task<LossRow, LossJob> *>(argument);
    Target target = task.work.target;
    if (task.work.labels) target.label = static_cast<ptrdiff_t>(task.work.labels[index]);
    if (task.work.targets.x) {
        const Row targets = row_at(task.work.targets, index);
        target.targets = targets.x;
        target.target_step = targets.x_step;
    }
    task.work.loss[index] = task.kernel(row, target, context);
}

void selected_of(void *argument, size_t index, const Row &row, const Context &context) {
    const auto &task = *static_cast<Task<SelectRow, SelectJob> *>(argument);
    const size_t count = task.work.count;
    task.kernel(row, task.work.index + index * count, count, context);
}

void row_alone(void *argument, size_t, const Row &row, const Context &context) {
    static_cast<Task<OneRow, Job> *>(argument)->kernel(row, context);
}

void divergence_of(void *argument, size_t index, const Row &row, const Context &context) {
    const auto &task = *static_cast<Task<TwoRows, DivergenceJob> *>(argument);
    Row q = row_at(task.work.q, index);
    q.where = row.where;
    q.where_step = row.where_step;
    task.kernel(row, q, context);
}

void product_of(void *argument, const ProductRows &rows, size_t count, const Context &context) {
    (*static_cast<Multiply *>(argument))(rows, count, context);
}

struct WeightedTask {
    Weigh weigh;
    std::atomic<bool> settled{true};
};

void weighted_of(void *argument, const ProductRows &rows, size_t count, const Context &context) {
    auto &task = *static_cast<WeightedTask *>(argument);
    if (task.settled && !task.weigh(rows, count, context)) task.settled = false;
}

}  // namespace

bool run_loss(const Kernels &kernels, LossJob &job, Poll poll) {
    return run_rows(kernels.loss[static_cast<size_t>(job.rows.format)], job, job.rows, true, loss_of, poll);
}

bool run_select(const Kernels &kernels, SelectJob &job, Poll poll) {
    return run_rows(kernels.select[static_cast<size_t>(job.rows.format)], job, job.rows, true, selected_of, poll);
}

bool run_cumulate(const Kernels &kernels, Job &job, Poll poll) {
    return run_rows(kernels.cumulate[static_cast<size_t>(job.format)], job, job, false, row_alone, poll);
}

bool run_entropy(const Kernels &kernels, Job &job, Poll poll) {
    return run_rows(kernels.entropy[static_cast<size_t>(job.format)], job, job, false, row_alone, poll);
}

bool run_divergence(const Kernels &kernels, DivergenceJob &job, Poll poll) {
    return run_rows(kernels.divergence[static_cast<size_t>(job.p.format)], job, job.p, false, divergence_of, poll);
}

bool run_product(const Kernels &kernels, Product product, Job &job, Poll poll) {
    Multiply multiply = kernels.multiply[static_cast<size_t>(product)][static_cast<size_t>(job.format)];
    return for_runs(job, product_of, &multiply, poll);
}

bool run_weighted(const Kernels &kernels, Job &job, bool *settled, Poll poll) {
    WeightedTask task{kernels.weigh[static_cast<size_t>(job.format)]};
    const bool finished = for_runs(job, weighted_of, &task, poll);
    *settled = task.settled;
    return finished;
}

}  // namespace stablesoftmax
