#include "../simd/avx512.hpp"

#define UNROLLED_ISA_NAME avx512
#include "../kernels/table.hpp"
