// Groups by offsets and by ids: those one after another have the bits of each on its own, scattered ones
// the exact values and the same bits by any number of threads. Nothing is read or written beside.
#include "groups.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "batch.hpp"
#include "check.hpp"
#include "fence.hpp"
#include "parallel.hpp"

using namespace stablesoftmax;

namespace {

using Random = std::mt19937_64;

size_t below(Random &random, size_t end) { return random() % end; }

// x of (length, columns), contiguous rows or contiguous columns; the result between fences.
struct Call {
    const Kernels &kernels;
    Operation operation;
    Format format;
    size_t length, columns, groups;
    bool by_column;
    Bytes x;
    std::vector<int64_t> ids;

    ptrdiff_t item() const { return static_cast<ptrdiff_t>(item_size(format)); }
    bool reduces() const { return operation == Operation::logsumexp; }
    size_t results() const { return reduces() ? groups : length; }
    ptrdiff_t step(size_t rows, bool down) const {
        if (down) return by_column ? item() : item() * static_cast<ptrdiff_t>(columns);
        return by_column ? item() * static_cast<ptrdiff_t>(rows) : item();
    }
    size_t offset(size_t rows, size_t row, size_t column) const {
        return row * static_cast<size_t>(step(rows, true)) + column * static_cast<size_t>(step(rows, false));
    }

    Call(const Kernels &kernels, size_t length, size_t columns, size_t groups, Random &random)
        : kernels(kernels), operation(static_cast<Operation>(below(random, operations))),
          format(static_cast<Format>(below(random, formats))), length(length), columns(columns), groups(groups),
          by_column(below(random, 2)), x(length * columns * item_size(format)), ids(length) {
        const size_t favourite = below(random, groups);
        for (int64_t &id : ids) id = static_cast<int64_t>(below(random, 3) ? below(random, groups) : favourite);
        draw_groups(random);
    }

    // Each group and column is of a family of its own.
    void draw_groups(Random &random) {
        const std::vector<std::vector<size_t>> all = members();
        for (const std::vector<size_t> &rows : all) {
            for (size_t c = 0; c < columns; ++c) {
                const Family family = static_cast<Family>(below(random, families));
                const size_t chosen = rows.empty() ? 0 : below(random, rows.size());
                for (size_t k = 0; k < rows.size(); ++k) {
                    const double value = draw(family, k, rows.size(), chosen, format, random);
                    reference::encode(format, reference::rounded(format, value), x.data() + offset(length, rows[k], c));
                }
            }
        }
    }

    std::vector<std::vector<size_t>> members() const {
        std::vector<std::vector<size_t>> rows(groups);
        for (size_t i = 0; i < length; ++i) rows[static_cast<size_t>(ids[i])].push_back(i);
        return rows;
    }

    GroupJob job(const char *from, char *y) const {
        return {operation, format, from, y, length, columns, groups, step(length, true), step(length, false),
                step(results(), true), step(results(), false)};
    }

    // Each group and column as a row of its own.
    Bytes expected() const {
        Bytes y(results() * columns * item_size(format), Fence::pattern);
        const std::vector<std::vector<size_t>> all = members();
        for (size_t g = 0; g < groups; ++g)
            for (size_t c = 0; c < columns; ++c) write_row(y, all[g], g, c);
        return y;
    }

    // How far y lies from the exact values: at most 1 is allowed.
    double error(const char *y) const {
        double worst = 0;
        const std::vector<std::vector<size_t>> all = members();
        for (size_t g = 0; g < groups; ++g)
            for (size_t c = 0; c < columns; ++c) worst = std::max(worst, error_of_group(y, all[g], g, c));
        return worst;
    }

    double error_of_group(const char *y, const std::vector<size_t> &rows, size_t group, size_t column) const {
        std::vector<double> values;
        for (size_t row : rows) values.push_back(reference::decode(format, x.data() + offset(length, row, column)));
        const reference::Results exact =
            reference::exact(values, std::vector<char>(values.size(), 1), 1, Undefined::nan);
        auto distance = [&](size_t row, reference::Real wanted) {
            const double got = reference::decode(format, y + offset(results(), row, column));
            const bool cancels = reduces() && std::isinf(exact.condition);  // then in units of what it is a sum of
            const bool is_zero = got == 0 && (operation != Operation::softmax || !std::signbit(got));
            if (wanted == 0) return is_zero ? 0 : HUGE_VAL;
            const double off = cancels ? static_cast<double>(std::fabs(got - wanted) / reference::unit(format, exact.size))
                                       : reference::ulps(format, got, wanted);
            return off / reference::limit(operation, format, 1, cancels ? 1 : exact.condition);
        };
        if (reduces()) return distance(group, exact.logsumexp);
        double worst = 0;
        for (size_t k = 0; k < rows.size(); ++k)
            worst = std::max(worst, distance(rows[k], operation == Operation::softmax ? exact.softmax[k] : exact.log_softmax[k]));
        return worst;
    }

    void write_row(Bytes &y, const std::vector<size_t> &rows, size_t group, size_t column) const {
        const size_t size = item_size(format);
        Bytes from(rows.size() * size + 1), to(rows.size() * size + size);
        for (size_t k = 0; k < rows.size(); ++k)
            std::memcpy(from.data() + k * size, x.data() + offset(length, rows[k], column), size);
        const Row row{from.data(), item(), to.data(), item(), nullptr, 0, 1, rows.size()};
        kernels.row[static_cast<size_t>(operation)][static_cast<size_t>(format)](row, Context{});
        if (reduces()) std::memcpy(y.data() + offset(groups, group, column), to.data(), size);
        for (size_t k = 0; !reduces() && k < rows.size(); ++k)
            std::memcpy(y.data() + offset(length, rows[k], column), to.data() + k * size, size);
    }

    void sort() { std::sort(ids.begin(), ids.end()); }

    std::vector<int64_t> offsets() const {
        std::vector<int64_t> ends(groups + 1);
        for (int64_t id : ids) ++ends[static_cast<size_t>(id) + 1];
        std::partial_sum(ends.begin(), ends.end(), ends.begin());
        return ends;
    }
};

void describe(const Call &call, const char *road) {
    std::snprintf(scene, sizeof scene, "%s %s %s %s (%zu, %zu) %zu groups%s", call.kernels.name, road,
                  operation_names[static_cast<size_t>(call.operation)], format_names[static_cast<size_t>(call.format)],
                  call.length, call.columns, call.groups, call.by_column ? " by column" : "");
}

// Results of a call between fences, at both ends of a page. `check(y)` looks at them.
template <class Run, class Check>
void check_call(const Call &call, const char *road, Run run, Check check) {
    describe(call, road);
    const size_t bytes = call.results() * call.columns * item_size(call.format);
    Fence from_fence(call.x.size()), to_fence(bytes);
    for (bool far : {false, true}) {
        char *x = from_fence.take(call.x.size(), far), *y = to_fence.take(bytes, far);
        std::memcpy(x, call.x.data(), call.x.size());
        const Outcome outcome = run(call.job(x, y));
        CHECK(outcome == Outcome::finished, "%d", static_cast<int>(outcome));
        check(y);
        CHECK(std::memcmp(x, call.x.data(), call.x.size()) == 0, "x was written to");
        std::memset(y, Fence::pattern, bytes);
        CHECK(to_fence.intact(y, bytes, far), "written beside");
    }
}

// Scattered: by ids of both widths, by other threads, and in place.
void check_scattered(const Call &call) {
    const Kernels &kernels = call.kernels;
    Bytes first;
    auto exact = [&](const char *y) {
        const double error = call.error(y);
        CHECK(error <= 1, "%g of what is allowed", error);
        first.assign(y, y + call.results() * call.columns * item_size(call.format));
    };
    auto same = [&](const char *y) { CHECK(std::memcmp(y, first.data(), first.size()) == 0, "%zu bytes", first.size()); };
    const std::vector<int32_t> narrow(call.ids.begin(), call.ids.end());
    auto wide_ids = [&](const GroupJob &job) { return run_scattered(kernels, job, call.ids.data(), nullptr); };
    auto narrow_ids = [&](const GroupJob &job) { return run_scattered(kernels, job, narrow.data(), nullptr); };
    const size_t threads = thread_count();
    check_call(call, "ids", wide_ids, exact);
    check_call(call, "int32", narrow_ids, same);
    set_thread_count(threads == 1 ? 3 : 1);
    check_call(call, "other threads", wide_ids, same);
    set_thread_count(threads);
    if (call.reduces()) return;
    describe(call, "in place");
    Bytes both = call.x;
    CHECK(wide_ids(call.job(both.data(), both.data())) == Outcome::finished, "not finished");
    same(both.data());
}

void check_roads(Call call) {
    const Kernels &kernels = call.kernels;
    check_scattered(call);
    call.sort();
    const Bytes expected = call.expected();
    auto same = [&](const char *y) { CHECK(std::memcmp(y, expected.data(), expected.size()) == 0, "%zu bytes", expected.size()); };
    check_call(call, "sorted", [&](const GroupJob &job) { return run_ids(kernels, job, call.ids.data(), nullptr); }, same);
    const std::vector<int64_t> ends = call.offsets();
    check_call(call, "offsets", [&](const GroupJob &job) { return run_offsets(kernels, job, ends.data(), nullptr); }, same);
}

void check_refusals(const Kernels &kernels) {
    std::snprintf(scene, sizeof scene, "%s refusals", kernels.name);
    char x[16] = {}, y[16];
    std::memset(y, 1, sizeof y);
    const GroupJob job{Operation::softmax, Format::float32, x, y, 4, 1, 3, 4, 4, 4, 4};
    const int64_t ids[][4] = {{0, 1, 2, 3}, {2, 1, 0, -1}, {0, INT64_MAX, 0, 0}, {1, 0, INT64_MIN, 0}};
    for (const auto &wrong : ids) CHECK(run_ids(kernels, job, wrong, nullptr) == Outcome::out_of_range, "ids");
    const int64_t ends[][4] = {{1, 2, 3, 4}, {0, 3, 2, 4}, {0, 1, 2, 5}, {0, 1, 2, 3}, {-1, 0, 0, 4}, {0, 0, -4, 4}};
    for (const auto &wrong : ends)
        CHECK(run_offsets(kernels, job, wrong, nullptr) == Outcome::out_of_range, "offsets");
    for (char byte : y) CHECK(byte == 1, "written");
    GroupJob many = job;
    many.groups = SIZE_MAX / 2;
    const int64_t fine[4] = {1, 0, 1, 0};
    CHECK(run_ids(kernels, many, fine, nullptr) == Outcome::out_of_memory, "SIZE_MAX / 2 groups");
}

}  // namespace

int main(int argc, char **) {
    const size_t calls = argc > 1 ? 12 : 60;
    Random random(1);
    for_levels([&](const Kernels &kernels) {
        check_refusals(kernels);
        for (size_t threads : {1, 3}) {
            set_thread_count(threads);
            for (size_t k = 0; k < calls; ++k) {
                const size_t columns = 1 + below(random, 3) * below(random, 30);
                check_roads(Call(kernels, below(random, 400), columns, 1 + below(random, 60), random));
            }
            check_roads(Call(kernels, 40'000, 1, 30'000, random));
            check_roads(Call(kernels, 40'000, 3, 600, random));
        }
    });
    // A group of more than a million rows, which all threads share.
    const char *error = nullptr;
    check_roads(Call(*choose_kernels(nullptr, &error), 1'100'000, 1, 1, random));
    check_roads(Call(*choose_kernels(nullptr, &error), 1'700'000, 1, 2, random));
    return report();
}
