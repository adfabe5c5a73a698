# Whether the GPU's kernels are built (src/kernels/cuda) or the place of CUDA says that it is empty (no_cuda). AUTO builds
# them where they can run: nvcc is found, and a GPU. SPDX-License-Identifier: Apache-2.0
include(CheckLanguage)
set(GAL_HAS_CUDA OFF)
if(GAL_CUDA STREQUAL "AUTO" AND (EXISTS /dev/nvidiactl OR EXISTS /dev/dxg))
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(GAL_HAS_CUDA ON)
  endif()
elseif(GAL_CUDA AND NOT GAL_CUDA STREQUAL "AUTO")
  set(GAL_HAS_CUDA ON)
endif()
if(NOT GAL_HAS_CUDA)
  return()
endif()

# Machine code for Ampere and Hopper; PTX for what comes after them.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90)
endif()
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
set(CMAKE_CUDA_FLAGS_RELWITHDEBINFO "-O3") # line tables would make the program 16 MB
# As for C: no multiply and add is fused unless it is written so. The host's side has neither exceptions nor RTTI, so
# that no C++ library is needed.
set(flags -fmad=false -Xcompiler=-Wall,-Wextra,-fno-exceptions,-fno-rtti)
if(GAL_WERROR)
  list(APPEND flags -Werror=all-warnings)
endif()
add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:${flags}>")
list(APPEND GAL_LIBS CUDA::cudart_static CUDA::cublasLt)
set(GAL_CUDA_LIBS "-L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -lcublasLt -ldl -lrt ") # for who links statically
set(CMAKE_INSTALL_RPATH ${CUDAToolkit_LIBRARY_DIR})
message(STATUS "GPU kernels: nvcc ${CMAKE_CUDA_COMPILER_VERSION}")
