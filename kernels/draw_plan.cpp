// The jobs of draws: whether all rows have a distribution; then each row's.
#include <algorithm>
#include <atomic>

#include "environment.hpp"
#include "finite.hpp"
#include "parallel.hpp"
#include "plan.hpp"

namespace stablesoftmax {
namespace {

size_t rows_of(const Job &job) {
    size_t rows = 1;
    for (int d = 0; d < job.dimensions; ++d) rows *= job.shape[d];
    return rows;
}

// Call f(first, last) over pieces of `count` units of so many elements, with a look at `poll` between slices.
template <class Function>
bool share_slices(size_t count, size_t unit, Poll poll, Function f) {
    const size_t threads = std::min(count * unit / elements_per_thread, thread_count());
    const size_t slice = std::max<size_t>(elements_per_slice / unit, 1);
    for (size_t first = 0; first < count; first += slice) {
        if (first > 0 && poll && !poll()) return false;
        share(std::min(count - first, slice), threads, [&](size_t from, size_t to) { f(first + from, first + to); });
    }
    return true;
}

// ---- is there a distribution -------------------------------------------------------------------------

struct Question {
    CanDraw can_draw;
    std::atomic<bool> all{true};
};

void ask(void *argument, size_t, const Row &row, const Context &) {
    auto &question = *static_cast<Question *>(argument);
    if (question.all.load(std::memory_order_relaxed) && !question.can_draw(row)) question.all = false;
}

bool is_one_segment(const Job &rows) {
    const auto item = static_cast<ptrdiff_t>(item_size(rows.format)), length = static_cast<ptrdiff_t>(rows.length);
    return !rows.where && rows.x_step == item &&
           (rows.dimensions == 0 || (rows.dimensions == 1 && rows.x_stride[0] == length * item));
}

// Most arrays hold nothing but numbers, and then every row has a distribution.
bool is_finite(const Job &rows) {
    constexpr size_t unit = 1 << 13;
    const size_t size = rows_of(rows) * rows.length;
    std::atomic<bool> finite{true};
    return share_slices((size + unit - 1) / unit, unit, nullptr, [&](size_t first, size_t last) {
        const size_t begin = first * unit, end = std::min(last * unit, size);
        const char *x = rows.x + begin * item_size(rows.format);
        if (finite.load(std::memory_order_relaxed) && !all_finite(rows.format, x, end - begin)) finite = false;
    }) && finite;
}

// ---- the draws ---------------------------------------------------------------------------------------

struct Drawing {
    const DrawJob &job;
    DrawRow draw;
    size_t rows;
    std::atomic<bool> has_room{true};
};

void draw_of(void *argument, size_t index, const Row &row, const Context &context) {
    auto &drawing = *static_cast<Drawing *>(argument);
    if (!context.exponentials) return drawing.has_room.store(false);
    const DrawJob &job = drawing.job;
    drawing.draw(row, job.filter, job.draws + index, static_cast<ptrdiff_t>(drawing.rows), job.count,
                 static_cast<double *>(context.exponentials));
}

// Many rows that fill no vector each, all at one temperature and evenly apart.
bool are_short(const DrawJob &job) {
    const Job &rows = job.rows;
    return rows.dimensions == 1 && rows.length <= short_draws && !rows.where && job.filter.keeps_all() &&
           (!rows.temperature || rows.temperature_stride[0] == 0);
}

bool draw_short_rows(const Kernels &kernels, const DrawJob &job, Poll poll) {
    constexpr size_t unit = 64;  // rows
    const Job &rows = job.rows;
    const size_t count = rows.shape[0];
    const double temperature = rows.temperature ? *reinterpret_cast<const double *>(rows.temperature) : 1;
    const DrawShortRows draw = kernels.draw_short[static_cast<size_t>(rows.format)];
    return share_slices((count + unit - 1) / unit, unit * rows.length, poll, [&](size_t first, size_t last) {
        FloatingPoint environment;
        const size_t begin = first * unit, end = std::min(last * unit, count);
        const DrawnRows part{rows.x + static_cast<ptrdiff_t>(begin) * rows.x_stride[0], rows.x_stride[0], rows.x_step,
                             end - begin, rows.length};
        draw(part, temperature, job.draws + begin, count, job.count);
    });
}

}  // namespace

bool all_can_draw(const Kernels &kernels, Job &rows, Poll poll) {
    simplify(rows);
    if (is_one_segment(rows) && is_finite(rows)) return true;
    Question question{kernels.can_draw[static_cast<size_t>(rows.format)]};
    return for_rows(rows, false, ask, &question, poll) && question.all;
}

Outcome run_draws(const Kernels &kernels, DrawJob &job, Poll poll) {
    simplify(job.rows);
    if (are_short(job)) return draw_short_rows(kernels, job, poll) ? Outcome::finished : Outcome::stopped;
    Drawing drawing{job, kernels.draw[static_cast<size_t>(job.rows.format)], rows_of(job.rows)};
    const size_t room = draw_room(job.rows.length, job.filter) * sizeof(double);
    if (!for_rows(job.rows, false, draw_of, &drawing, poll, room)) return Outcome::stopped;
    return drawing.has_room ? Outcome::finished : Outcome::out_of_memory;
}

}  // namespace stablesoftmax
