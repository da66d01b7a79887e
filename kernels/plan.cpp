#include "plan.hpp"

#include <algorithm>

#include "buffer.hpp"
#include "environment.hpp"
#include "parallel.hpp"

namespace stablesoftmax {
namespace {

// Sizes and strides of the batch, read together.
struct Batch {
    Job &job;

    void remove(int d) {
        --job.dimensions;
        for (int k = d; k < job.dimensions; ++k) copy(k, k + 1);
    }

    void copy(int to, int from) {
        job.shape[to] = job.shape[from];
        job.x_stride[to] = job.x_stride[from];
        job.y_stride[to] = job.y_stride[from];
        job.where_stride[to] = job.where_stride[from];
        job.temperature_stride[to] = job.temperature_stride[from];
        job.v_stride[to] = job.v_stride[from];
    }

    bool continues(int d) const {  // dimension d steps over all of dimension d + 1
        ptrdiff_t n = static_cast<ptrdiff_t>(job.shape[d + 1]);
        return job.x_stride[d] == n * job.x_stride[d + 1] && job.y_stride[d] == n * job.y_stride[d + 1] &&
               (!job.where || job.where_stride[d] == n * job.where_stride[d + 1]) &&
               (!job.temperature || job.temperature_stride[d] == n * job.temperature_stride[d + 1]) &&
               (!job.v || job.v_stride[d] == n * job.v_stride[d + 1]);
    }

    // Drop dimensions of one, join those that are one in memory.
    void simplify() {
        for (int d = job.dimensions - 1; d >= 0; --d)
            if (job.shape[d] == 1) remove(d);
        for (int d = job.dimensions - 2; d >= 0; --d)
            if (continues(d)) {
                job.shape[d + 1] *= job.shape[d];
                remove(d);
            }
    }

    size_t size() const {
        size_t n = 1;
        for (int d = 0; d < job.dimensions; ++d) n *= job.shape[d];
        return n;
    }

    // Make dimension d the last.
    void move_last(int d) {
        copy(max_dimensions - 1, d);
        remove(d);
        copy(job.dimensions++, max_dimensions - 1);
    }
};

struct Offsets {
    ptrdiff_t x = 0, y = 0, where = 0, temperature = 0, v = 0;
};

Offsets offsets_of(const Job &job, size_t index, int dimensions) {
    Offsets at;
    for (int d = dimensions - 1; d >= 0; --d) {
        ptrdiff_t i = static_cast<ptrdiff_t>(index % job.shape[d]);
        index /= job.shape[d];
        at.x += i * job.x_stride[d];
        at.y += i * job.y_stride[d];
        at.where += i * job.where_stride[d];
        at.temperature += i * job.temperature_stride[d];
        at.v += i * job.v_stride[d];
    }
    return at;
}

Row row_of(const Job &job, size_t index) {
    Offsets at = offsets_of(job, index, job.dimensions);
    double temperature = job.temperature ? *reinterpret_cast<const double *>(job.temperature + at.temperature) : 1;
    const char *where = job.where ? job.where + at.where : nullptr;
    return {job.x + at.x, job.x_step, job.y + at.y, job.y_step, where, job.where_step, temperature, job.length};
}

enum class Layout { rows, columns, single };

struct Plan {
    const Kernels &kernels;
    Job &job;
    Layout layout;
    size_t units;     // what the threads share: rows, or tiles of columns
    size_t per_line;  // units along the last batch dimension
    size_t tile;      // columns a unit
    size_t row_threads = 1;

    Plan(const Kernels &kernels, Job &job) : kernels(kernels), job(job) { choose(); }

    bool reduces() const { return job.operation == Operation::logsumexp; }

    void choose() {
        Batch batch{job};
        batch.simplify();
        const ptrdiff_t item = static_cast<ptrdiff_t>(item_size(job.format));
        tile = 1;
        layout = Layout::single;
        if (!job.where && !job.temperature) {
            if (job.x_step == item && (reduces() || job.y_step == item)) {
                layout = Layout::rows;
            } else if (int d = contiguous_dimension(item); d >= 0) {
                layout = Layout::columns;
                batch.move_last(d);
                tile = 256 / item_size(job.format);
            }
        }
        size_t line = job.dimensions ? job.shape[job.dimensions - 1] : 1;
        per_line = (line + tile - 1) / tile;
        units = line ? batch.size() / line * per_line : 0;
    }

    // The batch dimension along which lanes can run, or -1.
    int contiguous_dimension(ptrdiff_t item) const {
        constexpr size_t worth_it = 4;
        for (int d = job.dimensions - 1; d >= 0; --d)
            if (job.x_stride[d] == item && (reduces() || job.y_stride[d] == item) && job.shape[d] >= worth_it)
                return d;
        return -1;
    }

    void run_units(size_t first, size_t last) {
        FloatingPoint environment;
        Context context{job.undefined, row_threads, scratch()};
        const size_t op = static_cast<size_t>(job.operation), format = static_cast<size_t>(job.format);
        if (layout == Layout::single) {
            for (size_t u = first; u < last; ++u) kernels.row[op][format](row_of(job, u), context);
            return;
        }
        const int last_dimension = job.dimensions - 1;
        const size_t line = job.dimensions ? job.shape[last_dimension] : 1;
        const ptrdiff_t x_stride = job.dimensions ? job.x_stride[last_dimension] : 0;
        const ptrdiff_t y_stride = job.dimensions ? job.y_stride[last_dimension] : 0;
        while (first < last) {
            size_t in_line = first % per_line;
            size_t now = per_line - in_line < last - first ? per_line - in_line : last - first;
            Offsets at = offsets_of(job, first / per_line, last_dimension < 0 ? 0 : last_dimension);
            size_t begin = in_line * tile;
            size_t count = line - begin < now * tile ? line - begin : now * tile;
            const char *x = job.x + at.x + static_cast<ptrdiff_t>(begin) * x_stride;
            char *y = job.y + at.y + static_cast<ptrdiff_t>(begin) * y_stride;
            if (layout == Layout::rows)
                kernels.rows[op][format](x, x_stride, y, y_stride, count, job.length, context);
            else
                kernels.columns[op][format](x, job.x_step, y, reduces() ? y_stride : job.y_step, count,
                                            job.length, context);
            first += now;
        }
    }

    static void part(void *plan, size_t first, size_t last) { static_cast<Plan *>(plan)->run_units(first, last); }

    bool run(Poll poll) {
        if (units == 0) return true;
        const size_t unit_elements = std::max<size_t>(job.length * tile, 1);
        const size_t elements = units * unit_elements;
        size_t threads = elements / elements_per_thread;
        threads = std::min(threads, thread_count());
        if (units < threads) {
            const bool cut = layout != Layout::columns && job.length >= parallel_length;
            row_threads = cut ? threads : 1;
            threads = cut ? 1 : units;
        }
        const size_t slice = std::max<size_t>(elements_per_slice / unit_elements, 1);
        for (size_t first = 0; first < units; first += slice) {
            size_t count = units - first < slice ? units - first : slice;
            run_slice(first, count, threads);
            if (first + count < units && poll && !poll()) return false;
        }
        return true;
    }

    void run_slice(size_t first, size_t count, size_t threads) {
        if (threads <= 1) return run_units(first, first + count);
        struct Slice {
            Plan *plan;
            size_t first;
        } slice{this, first};
        auto part = [](void *argument, size_t from, size_t to) {
            auto *mine = static_cast<Slice *>(argument);
            mine->plan->run_units(mine->first + from, mine->first + to);
        };
        parallel_for(count, threads, part, &slice);
    }
};

}  // namespace

bool run(const Kernels &kernels, Job &job, Poll poll) { return Plan(kernels, job).run(poll); }

void simplify(Job &job) { Batch{job}.simplify(); }

Row row_at(const Job &job, size_t index) { return row_of(job, index); }

namespace {

// Rows that differ in nothing but their place, shared by the threads.
struct RowPlan {
    const Job &job;
    EachRow each;
    void *argument;
    size_t room;
    size_t row_threads = 1, first = 0;  // of the slice

    static void part(void *plan, size_t from, size_t to) {
        const auto &mine = *static_cast<RowPlan *>(plan);
        FloatingPoint environment;
        Buffer<char> own;
        if (mine.room > cached_bytes) own.reset(static_cast<char *>(std::malloc(mine.room)));
        void *room = mine.room == 0 ? nullptr : mine.room > cached_bytes ? own.get() : scratch();
        const Context context{mine.job.undefined, mine.row_threads, room};
        for (size_t u = mine.first + from; u < mine.first + to; ++u)
            mine.each(mine.argument, u, row_of(mine.job, u), context);
    }
};

}  // namespace

bool for_rows(Job &job, bool may_cut, EachRow each, void *argument, Poll poll, size_t room) {
    Batch batch{job};
    batch.simplify();
    const size_t rows = batch.size(), length = std::max<size_t>(job.length, 1);
    size_t threads = std::min(rows * length / elements_per_thread, thread_count());
    RowPlan plan{job, each, argument, room};
    if (rows < threads) {
        const bool cut = may_cut && length >= parallel_length;
        plan.row_threads = cut ? threads : 1;
        threads = cut ? 1 : rows;
    }
    const size_t slice = std::max<size_t>(elements_per_slice / length, 1);
    for (; plan.first < rows; plan.first += slice) {
        if (plan.first > 0 && poll && !poll()) return false;
        parallel_for(std::min(rows - plan.first, slice), threads, RowPlan::part, &plan);
    }
    return true;
}

namespace {

// Runs of rows along the last dimension, in tiles that the threads share.
struct RunPlan {
    static constexpr size_t tile = 16;  // rows; a multiple of every W, so that a tile fills its lanes

    Job &job;
    EachRun each;
    void *argument;
    size_t line, per_line, first = 0;  // rows, and tiles, of a run; the slice

    RunPlan(Job &job, EachRun each, void *argument) : job(job), each(each), argument(argument) {
        Batch batch{job};
        batch.simplify();
        const ptrdiff_t item = static_cast<ptrdiff_t>(item_size(job.format));
        for (int d = job.dimensions - 1; job.x_step != item && d >= 0; --d)
            if (job.x_stride[d] == item) {
                batch.move_last(d);
                break;
            }
        line = job.dimensions ? job.shape[job.dimensions - 1] : 1;
        per_line = (line + tile - 1) / tile;
    }

    size_t units() const { return line ? Batch{job}.size() / line * per_line : 0; }

    ProductRows rows_at(size_t run, size_t begin) const {
        const int last = job.dimensions - 1;
        Offsets at = offsets_of(job, run, last < 0 ? 0 : last);
        ProductRows rows{};
        rows.length = job.length;
        rows.x_step = job.x_step, rows.v_step = job.v_step, rows.y_step = job.y_step, rows.where_step = job.where_step;
        rows.v_format = job.v_format;
        if (last >= 0) {
            const ptrdiff_t n = static_cast<ptrdiff_t>(begin);
            rows.x_across = job.x_stride[last], at.x += n * rows.x_across;
            rows.v_across = job.v_stride[last], at.v += n * rows.v_across;
            rows.y_across = job.y_stride[last], at.y += n * rows.y_across;
            rows.where_across = job.where_stride[last], at.where += n * rows.where_across;
            rows.temperature_across = job.temperature_stride[last], at.temperature += n * rows.temperature_across;
        }
        rows.x = job.x + at.x, rows.v = job.v + at.v, rows.y = job.y + at.y;
        rows.where = job.where ? job.where + at.where : nullptr;
        rows.temperature = job.temperature ? job.temperature + at.temperature : nullptr;
        return rows;
    }

    static void part(void *plan, size_t from, size_t to) {
        const auto &mine = *static_cast<RunPlan *>(plan);
        FloatingPoint environment;
        const Context context{mine.job.undefined, 1, scratch()};
        for (size_t unit = mine.first + from; unit < mine.first + to;) {
            const size_t in_line = unit % mine.per_line, left = mine.first + to - unit;
            const size_t now = std::min(mine.per_line - in_line, left), begin = in_line * tile;
            const size_t count = std::min(mine.line - begin, now * tile);
            mine.each(mine.argument, mine.rows_at(unit / mine.per_line, begin), count, context);
            unit += now;
        }
    }
};

}  // namespace

bool for_runs(Job &job, EachRun each, void *argument, Poll poll) {
    RunPlan plan(job, each, argument);
    const size_t units = plan.units(), elements = std::max<size_t>(job.length * RunPlan::tile, 1);
    const size_t threads = std::min(units, std::min(units * elements / elements_per_thread, thread_count()));
    const size_t slice = std::max<size_t>(elements_per_slice / elements, 1);
    for (; plan.first < units; plan.first += slice) {
        if (plan.first > 0 && poll && !poll()) return false;
        parallel_for(std::min(units - plan.first, slice), std::max<size_t>(threads, 1), RunPlan::part, &plan);
    }
    return true;
}

ptrdiff_t first_undefined(const Kernels &kernels, const Job &job) {
    FloatingPoint environment;
    size_t rows = 1;
    for (int d = 0; d < job.dimensions; ++d) rows *= job.shape[d];
    auto is_undefined = kernels.is_undefined[static_cast<size_t>(job.format)];
    for (size_t r = 0; r < rows; ++r)
        if (is_undefined(row_of(job, r))) return static_cast<ptrdiff_t>(r);
    return -1;
}

namespace {

// Byte strides of a slab: from one slab to the next, along the axis, and across it.
struct SlabStrides {
    ptrdiff_t item, x_slab, x_step, y_slab, y_step;

    SlabStrides(Operation operation, Format format, Slab slab) {
        const bool reduces = operation == Operation::logsumexp;
        item = static_cast<ptrdiff_t>(item_size(format));
        x_step = static_cast<ptrdiff_t>(slab.inner) * item;
        x_slab = static_cast<ptrdiff_t>(slab.length) * x_step;
        y_step = reduces ? item : x_step;  // of logsumexp: from one column's result to the next
        y_slab = reduces ? x_step : x_slab;
    }
};

}  // namespace

bool run_large(const Kernels &kernels, Operation operation, Format format, const char *x, char *y, Slab slab,
               Poll poll) {
    const SlabStrides s(operation, format, slab);
    Job job{};
    job.operation = operation;
    job.format = format;
    job.x = x;
    job.y = y;
    job.length = slab.length;
    job.x_step = s.x_step;
    job.y_step = s.y_step;
    job.dimensions = 2;
    job.shape[0] = slab.outer, job.shape[1] = slab.inner;
    job.x_stride[0] = s.x_slab, job.x_stride[1] = s.item;
    job.y_stride[0] = s.y_slab, job.y_stride[1] = s.item;
    return run(kernels, job, poll);
}

void run_small(const Kernels &kernels, Operation operation, Format format, const char *x, char *y, Slab slab) {
    FloatingPoint environment;
    const Context context{Undefined::nan, 1, scratch()};
    const SlabStrides s(operation, format, slab);
    const size_t op = static_cast<size_t>(operation), f = static_cast<size_t>(format);
    if (slab.inner == 1)
        return kernels.rows[op][f](x, s.x_slab, y, s.y_slab, slab.outer, slab.length, context);
    for (size_t o = 0; o < slab.outer; ++o, x += s.x_slab, y += s.y_slab)
        kernels.columns[op][f](x, s.x_step, y, s.y_step, slab.inner, slab.length, context);
}

}  // namespace stablesoftmax
