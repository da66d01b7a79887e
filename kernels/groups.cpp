#include "groups.hpp"

#include "buffer.hpp"
#include "environment.hpp"
#include "parallel.hpp"

namespace stablesoftmax {
namespace {

// ---------------------------------------------------------------------------------------------
// Groups one after another

class Plan {
    enum class Layout { rows, columns, single };

    const Kernels &kernels;
    const GroupJob &job;
    const size_t *offsets;
    const size_t op = static_cast<size_t>(job.operation), format = static_cast<size_t>(job.format);
    const Layout layout;

    static constexpr size_t unit = elements_per_thread;
    // A group that all threads share; the others, they share out. Far more than a unit.
    static constexpr size_t long_group = 1 << 20;

    bool reduces() const { return job.operation == Operation::logsumexp; }

    Layout choose() const {
        constexpr size_t worth_it = 4;
        const ptrdiff_t item = static_cast<ptrdiff_t>(item_size(job.format));
        if (job.x_step == item && (reduces() || job.y_step == item)) return Layout::rows;
        const bool contiguous = job.x_column == item && (reduces() || job.y_column == item);
        return contiguous && job.columns >= worth_it ? Layout::columns : Layout::single;
    }

    // An empty group costs something, too.
    size_t work_before(size_t group) const { return offsets[group] * job.columns + group; }

    size_t first_group_from(size_t work) const {
        size_t low = 0, high = job.groups;
        while (low < high) {
            const size_t middle = low + (high - low) / 2;
            work_before(middle) < work ? low = middle + 1 : high = middle;
        }
        return low;
    }

    size_t length(size_t group) const { return offsets[group + 1] - offsets[group]; }
    bool is_long(size_t group) const { return length(group) * job.columns >= long_group; }

    const char *x(size_t group) const { return job.x + static_cast<ptrdiff_t>(offsets[group]) * job.x_step; }
    char *y(size_t group) const {
        return job.y + static_cast<ptrdiff_t>(reduces() ? group : offsets[group]) * job.y_step;
    }

    // The groups that begin within one unit of work. One that is long can only be the last of them.
    void run_unit(size_t index) const {
        FloatingPoint environment;
        const Context context{Undefined::nan, 1, scratch()};
        const size_t first = first_group_from(index * unit);
        size_t last = first_group_from((index + 1) * unit);
        if (last > first && is_long(last - 1)) --last;
        if (layout == Layout::rows) return run_rows(first, last, context);
        for (size_t group = first; group < last; ++group)
            layout == Layout::columns && length(group) ? run_columns(group, context) : run_single(group, context);
    }

    void run_rows(size_t first, size_t last, const Context &context) const {
        const char *from = job.x;
        char *to = reduces() ? y(first) : job.y;
        for (size_t c = 0; c < job.columns; ++c, from += job.x_column, to += job.y_column)
            kernels.ragged[op][format](from, to, job.y_step, offsets + first, last - first, context);
    }

    void run_columns(size_t group, const Context &context) const {
        kernels.columns[op][format](x(group), job.x_step, y(group), reduces() ? job.y_column : job.y_step,
                                    job.columns, length(group), context);
    }

    void run_single(size_t group, const Context &context) const {
        Row row{x(group), job.x_step, y(group), job.y_step, nullptr, 0, 1, length(group)};
        for (size_t c = 0; c < job.columns; ++c, row.x += job.x_column, row.y += job.y_column)
            kernels.row[op][format](row, context);
    }

    bool run_long(size_t group, Poll poll) const {
        Job one{};
        one.operation = job.operation;
        one.format = job.format;
        one.x = x(group);
        one.y = y(group);
        one.length = length(group);
        one.x_step = job.x_step;
        one.y_step = job.y_step;
        one.dimensions = 1;
        one.shape[0] = job.columns;
        one.x_stride[0] = job.x_column;
        one.y_stride[0] = job.y_column;
        return stablesoftmax::run(kernels, one, poll);
    }

  public:
    Plan(const Kernels &kernels, const GroupJob &job, const size_t *offsets)
        : kernels(kernels), job(job), offsets(offsets), layout(choose()) {}

    bool run(Poll poll) const {
        const size_t work = work_before(job.groups), units = work / unit + 1;
        constexpr size_t slice = elements_per_slice / unit;
        const size_t threads = std::min(thread_count(), units);
        for (size_t first = 0; first < units; first += slice) {
            auto part = [first, this](size_t from, size_t to) {
                for (size_t u = from; u < to; ++u) run_unit(first + u);
            };
            share(std::min(slice, units - first), threads, part);
            if (first + slice < units && poll && !poll()) return false;
        }
        if (work < long_group) return true;
        for (size_t group = 0; group < job.groups; ++group)
            if (is_long(group) && (!run_long(group, poll) || (poll && !poll()))) return false;
        return true;
    }
};

Outcome run_plan(const Kernels &kernels, const GroupJob &job, const size_t *offsets, Poll poll) {
    return Plan(kernels, job, offsets).run(poll) ? Outcome::finished : Outcome::stopped;
}

// ---------------------------------------------------------------------------------------------
// Ids

// The offsets of groups whose rows lie together, in order. False: they do not, or an id is out of range.
template <class Id>
bool offsets_of_sorted(const GroupJob &job, const Id *ids, size_t *offsets) {
    size_t begun = 0;  // groups whose offset is known
    for (size_t i = 0; i < job.length; ++i) {
        const size_t id = load_index(ids + i);
        if (id >= job.groups || id + 1 < begun) return false;
        while (begun <= id) offsets[begun++] = i;
    }
    while (begun <= job.groups) offsets[begun++] = job.length;
    return true;
}

}  // namespace

Outcome run_offsets(const Kernels &kernels, const GroupJob &job, const int64_t *given, Poll poll) {
    Buffer<size_t> offsets = buffer_for<size_t>(job.groups + 1);
    if (!offsets) return Outcome::out_of_memory;
    size_t last = 0;
    for (size_t g = 0; g <= job.groups; ++g) {
        offsets[g] = load_index(given + g);
        if (offsets[g] < last || (g == 0 && offsets[g] != 0)) return Outcome::out_of_range;
        last = offsets[g];
    }
    if (last != job.length) return Outcome::out_of_range;
    return run_plan(kernels, job, offsets.get(), poll);
}

template <class Id>
Outcome run_ids(const Kernels &kernels, const GroupJob &job, const Id *ids, Poll poll) {
    Buffer<size_t> offsets = buffer_for<size_t>(job.groups + 1);
    if (!offsets) return Outcome::out_of_memory;
    if (offsets_of_sorted(job, ids, offsets.get())) return run_plan(kernels, job, offsets.get(), poll);
    offsets.reset();
    return run_scattered(kernels, job, ids, poll);
}

template Outcome run_ids(const Kernels &, const GroupJob &, const int32_t *, Poll);
template Outcome run_ids(const Kernels &, const GroupJob &, const int64_t *, Poll);

}  // namespace stablesoftmax
