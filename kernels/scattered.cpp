// Ids in any order. Nothing is brought together: in two sweeps over the rows, or three, each member finds
// its group's sums in a table, which is small beside x and stays in a cache where x does not.
#include <atomic>
#include <cstring>
#include <limits>

#include "environment.hpp"
#include "groups.hpp"
#include "parallel.hpp"
#include "buffer.hpp"

namespace stablesoftmax {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// From `first` to `last`, of rows or groups.
struct Range {
    size_t first, last;
    size_t length() const { return last - first; }
    bool has(size_t i) const { return i - first < length(); }
};

// Members on their way to the kernels and back: some columns of some rows.
struct Block {
    alignas(64) char elements[most_members * sizeof(double)];
    size_t entry[most_members];
    size_t rows, column, columns;
};

template <size_t size>
void copy_row(const char *from, ptrdiff_t from_step, char *to, ptrdiff_t to_step, size_t columns) {
    if (columns == 1)
        std::memcpy(to, from, size);
    else
        for (; columns > 0; --columns, from += from_step, to += to_step) std::memcpy(to, from, size);
}

template <class Id>
class Scatter {
    const GroupJob &job;
    const Id *ids;
    const Scattered &kernel;
    const Poll poll;
    const size_t item = item_size(job.format), entries = job.groups * job.columns;
    const size_t threads = std::min(thread_count(), job.length * job.columns / elements_per_thread + 1);
    const size_t op = static_cast<size_t>(job.operation);
    const size_t sum_bytes = job.format == Format::float64 ? 2 * sizeof(double) : sizeof(double);
    const bool reduces = job.operation == Operation::logsumexp;
    const bool x_contiguous = is_contiguous(job.x_step, job.x_column);
    const bool y_contiguous = is_contiguous(job.y_step, job.y_column);
    Buffer<double> max, sum, ties;
    Buffer<size_t> cuts;  // of the groups, one part a thread
    std::atomic<bool> outside{false};

    bool is_contiguous(ptrdiff_t step, ptrdiff_t column) const {
        const ptrdiff_t size = static_cast<ptrdiff_t>(item);
        return (job.columns == 1 || column == size) && step == size * static_cast<ptrdiff_t>(job.columns);
    }

    GroupSums sums() const { return {max.get(), sum.get(), ties.get()}; }

    // Of all groups, and one more for rows whose id has changed since it was checked.
    Buffer<double> table(size_t items = 1) const {
        const bool fits = job.columns <= SIZE_MAX / sizeof(double) / (job.groups + 1);
        return fits ? buffer_for<double>((job.groups + 1) * job.columns, items) : nullptr;
    }

    bool add_maxima() {
        max = table(), ties = table();
        if (max && ties) std::fill_n(max.get(), entries + job.columns, -infinity);
        return max && ties;
    }

    char *y(size_t row, size_t column) const {
        return job.y + static_cast<ptrdiff_t>(row) * job.y_step + static_cast<ptrdiff_t>(column) * job.y_column;
    }
    const char *x(size_t row, size_t column) const {
        return job.x + static_cast<ptrdiff_t>(row) * job.x_step + static_cast<ptrdiff_t>(column) * job.x_column;
    }

    // -----------------------------------------------------------------------------------------
    // Blocks

    // The entries of a row's group are neighbours.
    void enter(size_t *entry, size_t group, const Block &block) const {
        for (size_t c = 0; c < block.columns; ++c) entry[c] = group * job.columns + block.column + c;
    }

    // All members of the block's rows.
    template <size_t size>
    Members take(Block &block, size_t row) {
        const size_t rows = block.rows, groups = job.groups;
        const Id *const ids = this->ids + row;
        size_t *const entry = block.entry;
        bool strays = false;
        for (size_t r = 0; r < rows; ++r) {
            const size_t id = load_index(ids + r);
            strays |= id >= groups;
            entry[r] = std::min(id, groups);
        }
        if (strays) outside = true;
        if (job.columns > 1)
            for (size_t r = rows; r-- > 0;) enter(entry + r * block.columns, entry[r], block);  // from the end: in place
        const size_t count = rows * block.columns;
        if (x_contiguous && block.columns == job.columns) return {x(row, 0), entry, count};
        for (size_t r = 0; r < rows; ++r)
            copy_row<size>(x(row + r, block.column), job.x_column, block.elements + r * block.columns * size, size,
                           block.columns);
        return {block.elements, entry, count};
    }

    // Those in the range. Each is copied and then kept or not: which it will be, no CPU can foresee.
    template <size_t size>
    Members take(Block &block, size_t row, Range range) {
        if (range.length() == job.groups) return take<size>(block, row);
        const size_t rows = block.rows, groups = job.groups, columns = block.columns;
        const ptrdiff_t step = job.x_step;
        const Id *const ids = this->ids + row;
        const char *from = x(row, block.column);
        size_t count = 0;
        bool strays = false;
        for (size_t r = 0; r < rows; ++r, from += step) {
            const size_t id = load_index(ids + r);
            strays |= id >= groups;
            block.entry[count] = id;
            if (columns > 1) enter(block.entry + count, id, block);
            copy_row<size>(from, job.x_column, block.elements + count * size, size, columns);
            count += range.has(id) ? columns : 0;
        }
        if (strays) outside = true;
        return {block.elements, block.entry, count};
    }

    // Call f(block, row) for the blocks of some rows.
    template <class Function>
    void for_blocks(Range rows, Function f) const {
        Block block;
        for (block.column = 0; block.column < job.columns; block.column += block.columns) {
            block.columns = std::min(job.columns - block.column, most_members);
            const size_t most_rows = most_members / block.columns;
            for (size_t row = rows.first; row < rows.last; row += block.rows) {
                block.rows = std::min(rows.last - row, most_rows);
                f(block, row);
            }
        }
    }

    // -----------------------------------------------------------------------------------------
    // Sweeps over all rows. False if `poll` stopped one.

    // Call f(rows) for slices of all rows.
    template <class Function>
    bool for_slices(Function f) const {
        const size_t slice = elements_per_slice / job.columns + 1;
        for (size_t first = 0; first < job.length; first += slice) {
            if (first > 0 && poll && !poll()) return false;
            f(Range{first, std::min(first + slice, job.length)});
        }
        return true;
    }

    // Each thread reads all ids and takes the members of its own groups, in their order: no two write to
    // one entry, and the bits are those of one thread.
    template <size_t size>
    bool absorb(void (*kernel)(const Members &, const GroupSums &)) {
        return for_slices([&](Range rows) {
            share(threads, threads, [&](size_t first, size_t last) {
                FloatingPoint environment;
                const Range groups{cuts[first], cuts[last]};
                for_blocks(rows, [&](Block &block, size_t row) { kernel(take<size>(block, row, groups), sums()); });
            });
        });
    }

    template <size_t size>
    bool write_rows() {
        constexpr size_t unit = elements_per_thread;
        return for_slices([&](Range rows) {
            const size_t unit_rows = unit / job.columns + 1, units = (rows.length() + unit_rows - 1) / unit_rows;
            share(units, threads, [&](size_t first, size_t last) {
                FloatingPoint environment;
                const Range part{rows.first + first * unit_rows, std::min(rows.first + last * unit_rows, rows.last)};
                for_blocks(part, [&](Block &block, size_t row) { write_block<size>(block, row); });
            });
        });
    }

    template <size_t size>
    void write_block(Block &block, size_t row) {
        const Members members = take<size>(block, row);
        if (y_contiguous && block.columns == job.columns) return kernel.write[op](members, sums(), y(row, 0));
        kernel.write[op](members, sums(), block.elements);
        for (size_t r = 0; r < block.rows; ++r)
            copy_row<size>(block.elements + r * block.columns * size, size, y(row + r, block.column), job.y_column,
                           block.columns);
    }

    template <size_t size>
    void write_totals() {
        FloatingPoint environment;
        if (y_contiguous) {
            for (size_t k = 0; k < entries; k += most_members)
                kernel.write_logsumexp(sums(), k, std::min(entries - k, most_members), job.y + k * size);
            return;
        }
        for_blocks({0, job.groups}, [&](Block &block, size_t group) {
            for (size_t r = 0; r < block.rows; ++r) {
                kernel.write_logsumexp(sums(), (group + r) * job.columns + block.column, block.columns, block.elements);
                copy_row<size>(block.elements, size, y(group + r, block.column), job.y_column, block.columns);
            }
        });
    }

    // -----------------------------------------------------------------------------------------
    // The whole

    // Call f(first, last) over parts of all entries.
    template <class Function>
    void for_entries(Function f) const {
        share(entries, threads, [&](size_t first, size_t last) {
            FloatingPoint environment;
            f(first, last);
        });
    }

    // Cut the groups so that all threads get about as many rows, as far as a sample of the ids can tell.
    bool cut() {
        constexpr size_t each = 64;
        const size_t count = std::min(each * threads, job.length);
        Buffer<size_t> sample = buffer_for<size_t>(count);
        cuts = buffer_for<size_t>(threads + 1);
        if (!sample || !cuts) return false;
        for (size_t k = 0; k < count; ++k) sample[k] = load_index(ids + k * (job.length / count));
        std::sort(sample.get(), sample.get() + count);
        for (size_t t = 1; t < threads; ++t) cuts[t] = std::min(sample[count * t / threads], job.groups);
        cuts[threads] = job.groups;
        return true;
    }

    bool are_trusted() const {
        std::atomic<bool> all{true};
        for_entries([&](size_t first, size_t last) {
            if (!kernel.are_trusted[op](sums(), first, last)) all = false;
        });
        return all;
    }

    // Where 0 is too far from a group's maximum, or the logarithms need what a maximum's own term hides, it
    // is summed again.
    template <size_t size>
    Outcome absorb_all() {
        if (!absorb<size>(kernel.absorb)) return Outcome::stopped;
        if (outside) return Outcome::out_of_range;
        if (are_trusted()) {
            for_entries([&](size_t first, size_t last) { kernel.settle[op](sums(), first, last); });
            max.reset();  // all are 0
            return Outcome::finished;
        }
        if (!max) {
            if (!add_maxima()) return Outcome::out_of_memory;
            std::memset(sum.get(), 0, (entries + job.columns) * sum_bytes);
            if (!absorb<size>(kernel.absorb)) return Outcome::stopped;
        }
        for_entries([&](size_t first, size_t last) { kernel.settle[op](sums(), first, last); });
        if (!absorb<size>(kernel.absorb_again)) return Outcome::stopped;
        for_entries([&](size_t first, size_t last) { kernel.finish[op](sums(), first, last); });
        return Outcome::finished;
    }

    template <size_t size>
    Outcome run_sized() {
        const Outcome outcome = absorb_all<size>();
        if (outcome != Outcome::finished) return outcome;
        if (!reduces) return write_rows<size>() ? Outcome::finished : Outcome::stopped;
        write_totals<size>();
        return Outcome::finished;
    }

  public:
    Scatter(const Kernels &kernels, const GroupJob &job, const Id *ids, Poll poll)
        : job(job), ids(ids), kernel(kernels.scattered[static_cast<size_t>(job.format)]), poll(poll) {}

    Outcome run() {
        sum = table(sum_bytes / sizeof(double));
        if (!sum || !cut() || (kernel.records_maxima[op] && !add_maxima())) return Outcome::out_of_memory;
        switch (item) {
            case 2: return run_sized<2>();
            case 4: return run_sized<4>();
            default: return run_sized<8>();
        }
    }
};

}  // namespace

template <class Id>
Outcome run_scattered(const Kernels &kernels, const GroupJob &job, const Id *ids, Poll poll) {
    return Scatter<Id>(kernels, job, ids, poll).run();
}

template Outcome run_scattered(const Kernels &, const GroupJob &, const int32_t *, Poll);
template Outcome run_scattered(const Kernels &, const GroupJob &, const int64_t *, Poll);

}  // namespace stablesoftmax
