// Offsets and ids belong to the caller, whose other threads may write to them: no index is used but
// one that was checked after it was last loaded.
#include "groups.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>

#if defined(__linux__)
#include <sys/mman.h>
#endif

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
    void *memory = std::calloc(std::max(items, one), std::max(count * sizeof(T), one));
#if defined(__linux__)
    // As NumPy does for its arrays: 10,000 page faults for 40 MB cost as much as all the rest.
    constexpr size_t worth_it = 1 << 22, page = 4096;
    if (memory && count * sizeof(T) * items >= worth_it) {
        const size_t into_page = reinterpret_cast<uintptr_t>(memory) % page;
        madvise(static_cast<char *>(memory) + (page - into_page), count * sizeof(T) * items - page, MADV_HUGEPAGE);
    }
#endif
    return Room<T>(static_cast<T *>(memory));
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

// A thread's room to sort one bucket in.
struct BucketRoom {
    Room<char> rows;
    Room<size_t> offsets, cursors;

    BucketRoom(size_t row_bytes, size_t length, size_t groups)
        : rows(room_for<char>(row_bytes, length)), offsets(room_for<size_t>(groups + 1)),
          cursors(room_for<size_t>(groups)) {}
    explicit operator bool() const { return rows && offsets && cursors; }
};

// Rows in any order, brought together and back by a stable counting sort. A sort into 1e5 groups at once
// would miss the caches with every row; this one goes first to buckets of neighbouring groups, as many
// as are written side by side, and then to the groups of one bucket, within a cache.
//
// Each way back repeats the way there from its end, so that the cursors retrace their steps.
template <class Id>
class Buckets {
    const GroupJob &job;
    const Id *ids;
    const size_t item = item_size(job.format), row_bytes = item * job.columns;
    const unsigned shift;  // from a group to its bucket
    const size_t buckets, groups_per_bucket = size_t{1} << shift;
    const size_t chunks;     // of ids, one a thread; each has a cursor for each bucket
    Room<size_t> starts, cursors;
    Room<char> rows;         // bucket after bucket
    Room<uint16_t> members;  // the group of each, counted from the first of its bucket

    static constexpr size_t most_buckets = 512;
    static constexpr unsigned member_bits = 16;

    static unsigned choose_shift(const GroupJob &job) {
        constexpr size_t bucket_bytes = 1 << 18, bucket_groups = 1 << 14;
        const size_t bytes = job.length * job.columns * item_size(job.format);
        size_t wanted = std::max(bytes / bucket_bytes, job.groups / bucket_groups) + 1;
        if (wanted > most_buckets || job.groups <= most_buckets) wanted = most_buckets;
        unsigned shift = 0;
        while (shift < member_bits && (job.groups - 1) >> shift >= wanted) ++shift;
        return shift;
    }

    bool one_group_each() const { return shift == 0; }
    size_t bucket_of(size_t group) const { return group >> shift; }
    size_t first_group(size_t bucket) const { return bucket << shift; }
    size_t length(size_t bucket) const { return starts[bucket + 1] - starts[bucket]; }
    // One that all threads share, being most of the work.
    bool is_large(size_t bucket) const {
        return length(bucket) > std::max<size_t>(elements_per_thread, job.length / buckets * 4);
    }

    size_t begin(size_t chunk) const { return job.length / chunks * chunk + std::min(chunk, job.length % chunks); }
    size_t *cursors_of(size_t chunk) const { return cursors.get() + chunk * buckets; }

    // Call f(chunk, first, last) over the rows of each chunk, slice by slice. False if `poll` stopped it.
    template <bool backwards = false, class Function>
    bool sweep(Poll poll, Function f) const {
        const size_t slice = elements_per_slice / job.columns + 1, longest = begin(1);
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
                    ++counts[bucket_of(id)];
                else
                    outside = true;
            }
        });
    }

    // Make cursors of the counts.
    void place() const {
        size_t next = 0;
        for (size_t bucket = 0; bucket < buckets; ++bucket) {
            starts[bucket] = next;
            for (size_t chunk = 0; chunk < chunks; ++chunk) {
                size_t &cursor = cursors_of(chunk)[bucket];
                const size_t count = cursor;
                cursor = next;
                next += count;
            }
        }
        starts[buckets] = next;
    }

    char *row(size_t place) const { return rows.get() + place * row_bytes; }

    // Ask for the second next line after that of p as soon as p enters a line. The hardware foresees a
    // few streams, not hundreds: without this, filling the buckets takes three times as long.
    template <bool write, ptrdiff_t direction>
    static void expect(const void *p, size_t bytes) {
        constexpr ptrdiff_t line = 64;
        if (reinterpret_cast<uintptr_t>(p) % line < bytes)
            __builtin_prefetch(static_cast<const char *>(p) + 2 * direction * line, write);
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

    // An id that has changed since it was counted takes a place that is not its own, or none.
    template <size_t size>
    bool fill_buckets(Poll poll) const {
        auto fill = [](const Buckets &self, size_t chunk, size_t first, size_t last) {
            const GroupJob job = self.job;
            const Id *ids = self.ids;
            const unsigned shift = self.shift;
            const size_t row_bytes = size * job.columns, mask = self.groups_per_bucket - 1;
            char *rows = self.rows.get();
            uint16_t *members = self.one_group_each() ? nullptr : self.members.get();
            size_t *cursor = self.cursors_of(chunk);
            for (size_t i = first; i < last; ++i) {
                const size_t id = load_index(ids + i);
                if (id >= job.groups) continue;
                const size_t to = cursor[id >> shift]++;
                if (to >= job.length) continue;
                char *row = rows + to * row_bytes;
                move_row<size>(job.x + static_cast<ptrdiff_t>(i) * job.x_step, job.x_column, row, size, job.columns);
                expect<true, 1>(row, row_bytes);
                if (!members) continue;
                expect<true, 1>(&members[to], sizeof members[to]);
                members[to] = static_cast<uint16_t>(id & mask);
            }
        };
        return sweep(poll, [&](size_t chunk, size_t first, size_t last) { fill(*this, chunk, first, last); });
    }

    template <size_t size>
    bool empty_buckets(Poll poll) const {
        return sweep<true>(poll, [this](size_t chunk, size_t first, size_t last) {
            const GroupJob job = this->job;
            const Id *ids = this->ids;
            const unsigned shift = this->shift;
            const size_t row_bytes = size * job.columns;
            const char *rows = this->rows.get();
            size_t *cursor = cursors_of(chunk);
            for (size_t i = last; i-- > first;) {
                const size_t id = load_index(ids + i);
                if (id >= job.groups) continue;
                const size_t from = --cursor[id >> shift];
                if (from >= job.length) continue;
                const char *row = rows + from * row_bytes;
                expect<false, -1>(row, row_bytes);
                move_row<size>(row, size, job.y + static_cast<ptrdiff_t>(i) * job.y_step, job.y_column, job.columns);
            }
        });
    }

    // Groups that lie one after another from `memory` on; computed there.
    GroupJob contiguous_job(char *memory, size_t length, size_t first, size_t groups) const {
        GroupJob inside = job;
        inside.x = memory;
        inside.length = length;
        inside.groups = groups;
        inside.x_step = static_cast<ptrdiff_t>(row_bytes);
        inside.x_column = static_cast<ptrdiff_t>(item);
        if (job.operation == Operation::logsumexp) {
            inside.y = job.y + static_cast<ptrdiff_t>(first) * job.y_step;
        } else {
            inside.y = memory;
            inside.y_step = inside.x_step;
            inside.y_column = inside.x_column;
        }
        return inside;
    }

    template <size_t size>
    Outcome run_bucket(const Kernels &kernels, size_t bucket, const BucketRoom &room, Poll poll) const {
        const ptrdiff_t step = static_cast<ptrdiff_t>(size);
        const size_t start = starts[bucket], count = length(bucket), first = first_group(bucket);
        const size_t groups = std::min(groups_per_bucket, job.groups - first);
        const uint16_t *member = members.get() + start;
        size_t *offsets = room.offsets.get(), *cursor = room.cursors.get();
        std::fill_n(offsets, groups + 1, 0);
        for (size_t k = 0; k < count; ++k) ++offsets[member[k] + 1];
        for (size_t g = 0; g < groups; ++g) {
            cursor[g] = offsets[g];
            offsets[g + 1] += offsets[g];
        }
        for (size_t k = 0; k < count; ++k)
            move_row<size>(row(start + k), step, room.rows.get() + cursor[member[k]]++ * row_bytes, step, job.columns);
        const GroupJob inside = contiguous_job(room.rows.get(), count, first, groups);
        const Outcome outcome = run_plan(kernels, inside, offsets, poll);
        if (outcome != Outcome::finished || job.operation == Operation::logsumexp) return outcome;
        for (size_t k = count; k-- > 0;)
            move_row<size>(room.rows.get() + --cursor[member[k]] * row_bytes, step, row(start + k), step, job.columns);
        return outcome;
    }

    // The buckets from `from` to `to` that are large, or those that are not.
    template <size_t size>
    Outcome run_buckets(const Kernels &kernels, size_t from, size_t to, bool large, Poll poll) const {
        size_t longest = 0, found = 0;
        for (size_t b = from; b < to; ++b)
            if (is_large(b) == large) longest = std::max(longest, length(b)), ++found;
        if (!found) return Outcome::finished;
        const BucketRoom room(row_bytes, longest, groups_per_bucket);
        if (!room) return Outcome::out_of_memory;
        for (size_t b = from; b < to; ++b) {
            if (is_large(b) != large) continue;
            const Outcome outcome = run_bucket<size>(kernels, b, room, poll);
            if (outcome != Outcome::finished) return outcome;
            if (poll && !poll()) return Outcome::stopped;
        }
        return Outcome::finished;
    }

    // The small ones side by side, then the large ones one by one, each by all threads.
    template <size_t size>
    Outcome run_all_buckets(const Kernels &kernels, Poll poll) const {
        const size_t threads = std::min(thread_count(), job.length * job.columns / elements_per_thread + 1);
        const size_t slice = elements_per_slice / (job.length / buckets * job.columns + 1) + threads;
        std::atomic<Outcome> failure{Outcome::finished};
        for (size_t first = 0; first < buckets && failure == Outcome::finished; first += slice) {
            if (first > 0 && poll && !poll()) return Outcome::stopped;
            Plan::share(std::min(slice, buckets - first), threads, [&](size_t from, size_t to) {
                const Outcome outcome = run_buckets<size>(kernels, first + from, first + to, false, nullptr);
                if (outcome != Outcome::finished) failure = outcome;
            });
        }
        if (failure != Outcome::finished) return failure;
        return run_buckets<size>(kernels, 0, buckets, true, poll);
    }

    template <size_t size>
    Outcome run_sized(const Kernels &kernels, Poll poll) const {
        if (!fill_buckets<size>(poll)) return Outcome::stopped;
        const Outcome outcome =
            one_group_each()
                ? run_plan(kernels, contiguous_job(rows.get(), job.length, 0, job.groups), starts.get(), poll)
                : run_all_buckets<size>(kernels, poll);
        if (outcome != Outcome::finished || job.operation == Operation::logsumexp) return outcome;
        return empty_buckets<size>(poll) ? Outcome::finished : Outcome::stopped;
    }

  public:
    Buckets(const GroupJob &job, const Id *ids)
        : job(job), ids(ids), shift(choose_shift(job)), buckets(bucket_of(job.groups - 1) + 1),
          chunks(std::min(thread_count(), job.length * job.columns / elements_per_thread + 1)),
          starts(room_for<size_t>(buckets + 1)), cursors(room_for<size_t>(buckets, chunks)),
          rows(room_for<char>(row_bytes, job.length)),
          members(room_for<uint16_t>(one_group_each() ? 0 : job.length)) {}

    Outcome run(const Kernels &kernels, Poll poll) const {
        if (!starts || !cursors || !rows || !members) return Outcome::out_of_memory;
        std::atomic<bool> outside{false};
        if (!count(poll, outside)) return Outcome::stopped;
        if (outside) return Outcome::out_of_range;
        place();
        switch (item) {
            case 2: return run_sized<2>(kernels, poll);
            case 4: return run_sized<4>(kernels, poll);
            default: return run_sized<8>(kernels, poll);
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
    if (job.groups == 0) return Outcome::out_of_range;
    offsets.reset();
    return Buckets<Id>(job, ids).run(kernels, poll);
}

template Outcome run_ids(const Kernels &, const GroupJob &, const int32_t *, Poll);
template Outcome run_ids(const Kernels &, const GroupJob &, const int64_t *, Poll);

}  // namespace stablesoftmax
