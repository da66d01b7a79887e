// Offsets and ids belong to the caller, whose other threads may write to them: no index is used but
// one that was checked after it was last loaded.
#include "groups.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "environment.hpp"
#include "parallel.hpp"

namespace stablesoftmax {
namespace {

struct Free {
    void operator()(void *memory) const { std::free(memory); }
};

template <class T>
using Room = std::unique_ptr<T[], Free>;

// Zeros; null where there is no memory.
template <class T>
Room<T> room_for(size_t count, size_t items = 1) {
    if (count > SIZE_MAX / sizeof(T)) return nullptr;
    const size_t one = 1;  // of nothing, calloc may return null
    return Room<T>(static_cast<T *>(std::calloc(std::max(items, one), std::max(count * sizeof(T), one))));
}

// Negative numbers become the largest.
template <class Id>
size_t load_index(const Id *from) {
    return static_cast<size_t>(static_cast<ptrdiff_t>(__atomic_load_n(from, __ATOMIC_RELAXED)));
}

// ---------------------------------------------------------------------------------------------
// Groups one after another

class Plan {
    enum class Road { rows, columns, single };

    const Kernels &kernels;
    const GroupJob &job;
    const size_t *offsets;
    const size_t op = static_cast<size_t>(job.operation), format = static_cast<size_t>(job.format);
    const Road road;

    static constexpr size_t unit = elements_per_thread;
    // A group that all threads share; the others, they share out. Far more than a unit.
    static constexpr size_t long_group = 1 << 20;

    bool reduces() const { return job.operation == Operation::logsumexp; }

    Road choose() const {
        constexpr size_t worth_it = 4;
        const ptrdiff_t item = static_cast<ptrdiff_t>(item_size(job.format));
        if (job.x_step == item && (reduces() || job.y_step == item)) return Road::rows;
        const bool contiguous = job.x_column == item && (reduces() || job.y_column == item);
        return contiguous && job.columns >= worth_it ? Road::columns : Road::single;
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
        if (road == Road::rows) return run_rows(first, last, context);
        for (size_t group = first; group < last; ++group)
            road == Road::columns && length(group) ? run_columns(group, context) : run_single(group, context);
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
        : kernels(kernels), job(job), offsets(offsets), road(choose()) {}

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

    // Call f(first, last) over parts of [0, count).
    template <class Function>
    static void share(size_t count, size_t threads, Function f) {
        auto part = [](void *argument, size_t first, size_t last) {
            (*static_cast<Function *>(argument))(first, last);
        };
        parallel_for(count, threads, part, &f);
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
        if (id + 1 == begun) continue;
        if (id + 1 < begun || id >= job.groups) return false;
        while (begun <= id) offsets[begun++] = i;
    }
    while (begun <= job.groups) offsets[begun++] = job.length;
    return true;
}

// Rows in any order: brought together in a copy, by a stable counting sort, and back from there. Each
// chunk of rows has a cursor for each group, the place in the copy where its next row goes. The way
// back runs backwards, so that the cursors retrace their steps.
template <class Id>
class Sorting {
    const GroupJob &job;
    const Id *ids;
    const size_t chunks;
    const size_t item = item_size(job.format), row_bytes = item * job.columns;
    Room<size_t> offsets, cursors;
    Room<char> sorted;

    // More chunks than one only where the rows are many more than the cursors.
    static size_t choose_chunks(const GroupJob &job) {
        const size_t worth_it = job.length / std::max<size_t>(job.groups, elements_per_thread / job.columns + 1);
        return std::max<size_t>(1, std::min(thread_count(), worth_it));
    }

    size_t begin(size_t chunk) const { return job.length / chunks * chunk + std::min(chunk, job.length % chunks); }
    size_t *cursors_of(size_t chunk) const { return cursors.get() + chunk * job.groups; }

    // Call f(chunk, first, last) over the rows of each chunk, slice by slice. False if `poll` stopped it.
    template <bool backwards = false, class Function>
    bool sweep(Poll poll, Function f) const {
        const size_t slice = elements_per_slice / job.columns + 1;
        const size_t longest = begin(1);
        for (size_t done = 0; done < longest; done += slice) {
            Plan::share(chunks, chunks, [&](size_t from, size_t to) {
                for (size_t chunk = from; chunk < to; ++chunk) {
                    const size_t low = begin(chunk), high = begin(chunk + 1);
                    const size_t left = high - low > done ? high - low - done : 0, now = std::min(left, slice);
                    const size_t first = backwards ? low + left - now : high - left;
                    f(chunk, first, first + now);
                }
            });
            if (done + slice < longest && poll && !poll()) return false;
        }
        return true;
    }

    bool count(Poll poll, std::atomic<bool> &outside) const {
        return sweep(poll, [&](size_t chunk, size_t first, size_t last) {
            size_t *counts = cursors_of(chunk);
            for (size_t i = first; i < last; ++i) {
                const size_t id = load_index(ids + i);
                if (id < job.groups)
                    ++counts[id];
                else
                    outside = true;
            }
        });
    }

    void place() const {
        size_t next = 0;
        for (size_t group = 0; group < job.groups; ++group) {
            offsets[group] = next;
            for (size_t chunk = 0; chunk < chunks; ++chunk) {
                size_t &cursor = cursors_of(chunk)[group];
                const size_t rows = cursor;
                cursor = next;
                next += rows;
            }
        }
        offsets[job.groups] = next;
    }

    // Call move(row, its place in the copy) for the rows from `first` to `last`. An id that changed
    // meanwhile moves a row that is not its own, or none.
    template <bool backwards, class Function>
    void walk(size_t chunk, size_t first, size_t last, Function move) const {
        constexpr size_t ahead = 24;  // rows: their places are in no cache
        size_t *cursor = cursors_of(chunk);
        for (size_t k = first; k < last; ++k) {
            const size_t i = backwards ? last - 1 - (k - first) : k;
            if (k + ahead < last) {
                const size_t coming = load_index(ids + (backwards ? i - ahead : i + ahead));
                if (coming < job.groups) __builtin_prefetch(sorted.get() + cursor[coming] * row_bytes, !backwards);
            }
            const size_t id = load_index(ids + i);
            if (id >= job.groups) continue;
            const size_t to = backwards ? --cursor[id] : cursor[id]++;
            if (to < job.length) move(i, sorted.get() + to * row_bytes);
        }
    }

    template <size_t size>
    static void move_row(const char *from, ptrdiff_t from_step, char *to, ptrdiff_t to_step, size_t columns) {
        constexpr ptrdiff_t contiguous = static_cast<ptrdiff_t>(size);
        if (columns == 1) {
            std::memcpy(to, from, size);
        } else if (from_step == contiguous && to_step == contiguous) {
            std::memcpy(to, from, columns * size);
        } else {
            for (; columns > 0; --columns, from += from_step, to += to_step) std::memcpy(to, from, size);
        }
    }

    template <size_t size>
    bool bring_together(Poll poll) const {
        return sweep(poll, [this](size_t chunk, size_t first, size_t last) {
            walk<false>(chunk, first, last, [this](size_t i, char *place) {
                move_row<size>(job.x + static_cast<ptrdiff_t>(i) * job.x_step, job.x_column, place, size, job.columns);
            });
        });
    }

    template <size_t size>
    bool bring_back(Poll poll) const {
        return sweep<true>(poll, [this](size_t chunk, size_t first, size_t last) {
            walk<true>(chunk, first, last, [this](size_t i, const char *place) {
                move_row<size>(place, size, job.y + static_cast<ptrdiff_t>(i) * job.y_step, job.y_column, job.columns);
            });
        });
    }

    template <size_t size>
    Outcome run_sorted(const Kernels &kernels, Poll poll) const {
        if (!bring_together<size>(poll)) return Outcome::stopped;
        const bool reduces = job.operation == Operation::logsumexp;
        GroupJob inside = job;
        inside.x = sorted.get();
        inside.x_step = static_cast<ptrdiff_t>(row_bytes);
        inside.x_column = static_cast<ptrdiff_t>(item);
        if (!reduces) {
            inside.y = sorted.get();
            inside.y_step = inside.x_step;
            inside.y_column = inside.x_column;
        }
        const Outcome outcome = run_plan(kernels, inside, offsets.get(), poll);
        if (reduces || outcome != Outcome::finished) return outcome;
        return bring_back<size>(poll) ? Outcome::finished : Outcome::stopped;
    }

  public:
    // With room for the offsets.
    Sorting(const GroupJob &job, const Id *ids, Room<size_t> offsets)
        : job(job), ids(ids), chunks(choose_chunks(job)), offsets(std::move(offsets)),
          cursors(room_for<size_t>(job.groups, chunks)), sorted(room_for<char>(row_bytes, job.length)) {}

    Outcome run(const Kernels &kernels, Poll poll) const {
        if (!cursors || !sorted) return Outcome::out_of_memory;
        std::atomic<bool> outside{false};
        if (!count(poll, outside)) return Outcome::stopped;
        if (outside) return Outcome::out_of_range;
        place();
        switch (item) {
            case 2: return run_sorted<2>(kernels, poll);
            case 4: return run_sorted<4>(kernels, poll);
            default: return run_sorted<8>(kernels, poll);
        }
    }
};

}  // namespace

Outcome run_offsets(const Kernels &kernels, const GroupJob &job, const int64_t *given, Poll poll) {
    Room<size_t> offsets = room_for<size_t>(job.groups + 1);
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
    Room<size_t> offsets = room_for<size_t>(job.groups + 1);
    if (!offsets) return Outcome::out_of_memory;
    if (offsets_of_sorted(job, ids, offsets.get())) return run_plan(kernels, job, offsets.get(), poll);
    return Sorting<Id>(job, ids, std::move(offsets)).run(kernels, poll);
}

template Outcome run_ids(const Kernels &, const GroupJob &, const int32_t *, Poll);
template Outcome run_ids(const Kernels &, const GroupJob &, const int64_t *, Poll);

}  // namespace stablesoftmax
