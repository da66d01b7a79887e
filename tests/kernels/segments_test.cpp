// Groups by offsets and by ids: the bits of each group on its own, and nothing read or written beside.
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
        for (size_t i = 0; i < length * columns; ++i) {
            const double value = below(random, 300) ? 3 * std::normal_distribution<double>()(random) : -INFINITY;
            reference::encode(format, reference::rounded(format, value), x.data() + i * item_size(format));
        }
        const size_t favourite = below(random, groups);
        for (int64_t &id : ids) id = static_cast<int64_t>(below(random, 3) ? below(random, groups) : favourite);
    }

    GroupJob job(const char *from, char *y) const {
        return {operation, format, from, y, length, columns, groups, step(length, true), step(length, false),
                step(results(), true), step(results(), false)};
    }

    // Each group and column as a row of its own.
    Bytes expected() const {
        Bytes y(results() * columns * item_size(format), Fence::pattern);
        std::vector<std::vector<size_t>> members(groups);
        for (size_t i = 0; i < length; ++i) members[static_cast<size_t>(ids[i])].push_back(i);
        for (size_t g = 0; g < groups; ++g)
            for (size_t c = 0; c < columns; ++c) write_row(y, members[g], g, c);
        return y;
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

template <class Run>
void check_call(const Call &call, const char *road, Run run) {
    std::snprintf(scene, sizeof scene, "%s %s %s %s (%zu, %zu) %zu groups%s", call.kernels.name, road,
                  operation_names[static_cast<size_t>(call.operation)], format_names[static_cast<size_t>(call.format)],
                  call.length, call.columns, call.groups, call.by_column ? " by column" : "");
    const Bytes expected = call.expected();
    Fence from_fence(call.x.size()), to_fence(expected.size());
    for (bool far : {false, true}) {
        char *x = from_fence.take(call.x.size(), far), *y = to_fence.take(expected.size(), far);
        std::memcpy(x, call.x.data(), call.x.size());
        const Outcome outcome = run(call.job(x, y));
        CHECK(outcome == Outcome::finished, "%d", static_cast<int>(outcome));
        CHECK(std::memcmp(y, expected.data(), expected.size()) == 0, "%zu bytes", expected.size());
        std::memset(y, Fence::pattern, expected.size());
        CHECK(to_fence.intact(y, expected.size(), far), "written beside");
    }
}

void check_roads(Call call) {
    const Kernels &kernels = call.kernels;
    check_call(call, "ids", [&](const GroupJob &job) { return run_ids(kernels, job, call.ids.data(), nullptr); });
    const std::vector<int32_t> narrow(call.ids.begin(), call.ids.end());
    check_call(call, "int32", [&](const GroupJob &job) { return run_ids(kernels, job, narrow.data(), nullptr); });
    call.sort();
    check_call(call, "sorted", [&](const GroupJob &job) { return run_ids(kernels, job, call.ids.data(), nullptr); });
    const std::vector<int64_t> ends = call.offsets();
    check_call(call, "offsets", [&](const GroupJob &job) { return run_offsets(kernels, job, ends.data(), nullptr); });
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
            check_roads(Call(kernels, 40'000, 1, 30'000, random));  // several buckets
            check_roads(Call(kernels, 40'000, 3, 600, random));
        }
    });
    // A group of more than a million rows, which all threads share.
    const char *error = nullptr;
    check_roads(Call(*choose_kernels(nullptr, &error), 1'100'000, 1, 1, random));
    check_roads(Call(*choose_kernels(nullptr, &error), 1'700'000, 1, 2, random));
    return report();
}
