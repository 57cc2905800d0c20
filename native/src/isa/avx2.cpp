#include "../simd/avx2.hpp"

#define UNROLLED_ISA_NAME avx2
#include "../kernels/table.hpp"
