// Words that every part of the core shares. Letters as in the package: T steps, B rows, I input, H hidden, R output
// size (the projection's, or H), G gates.
#pragma once

#include <cstddef>
#include <cstdint>

#include "unrolled/compiler.hpp"

namespace unrolled {

using i64 = std::int64_t;
using u64 = std::uint64_t;
using u32 = std::uint32_t;
using u8 = std::uint8_t;

enum class Cell : int { rnn_tanh, rnn_relu, rnn_identity, lstm, gru, gru_reset_before };

constexpr int gates_of(Cell cell) {
  return cell == Cell::lstm ? 4 : cell == Cell::gru || cell == Cell::gru_reset_before ? 3 : 1;
}

// Blocks of H that one step leaves on the tape: the gates, and for a GRU that resets after the product also W_hn h + b_hn.
constexpr int taped_of(Cell cell) { return cell == Cell::gru ? 4 : gates_of(cell); }

constexpr i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }
constexpr i64 round_up(i64 a, i64 b) { return ceil_div(a, b) * b; }

}  // namespace unrolled
