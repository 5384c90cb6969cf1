# Every third-party library, as one target each: merritt::{onednn,capnp,boost_dll,spdlog,crypto,json,cli11,utf8proc,
# gtest,benchmark}, and merritt_capnp_schema(TARGET FILE.capnp...). What ends up inside libmerritt.so or a plugin
# is static, position independent and hidden. `./dev setup` installs the packages and builds the two from source.
include_guard(GLOBAL)
find_package(Threads REQUIRED)

# The prefix of a library built from source: its folder carries the digest of its recipe, so that an edited recipe is
# a new prefix and never a half-rebuilt old one.
function(merritt_source_prefix name out)
  set(recipe "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/deps/${name}.json")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${recipe}")
  file(READ "${recipe}" text)
  string(JSON version GET "${text}" version)
  file(SHA256 "${recipe}" digest)
  string(SUBSTRING "${digest}" 0 12 digest)
  set(prefix "${MERRITT_DEPS_DIR}/${name}-${version}-${digest}")
  if(NOT EXISTS "${prefix}/.complete")
    message(FATAL_ERROR "${name} ${version} is not built (no ${prefix}); run ./dev setup")
  endif()
  set(${out} "${prefix}" PARENT_SCOPE)
endfunction()

# A header or library of a system package; the message names the package.
function(merritt_find_header out file package)
  find_path(${out} NAMES ${file})
  if(NOT ${out})
    message(FATAL_ERROR "${file} not found (package ${package}); run ./dev setup")
  endif()
  mark_as_advanced(${out})
endfunction()
function(merritt_find_archive out file package)
  find_library(${out} NAMES ${file})
  if(NOT ${out})
    message(FATAL_ERROR "${file} not found (package ${package}); run ./dev setup")
  endif()
  mark_as_advanced(${out})
endfunction()

function(merritt_find_tool out program package)
  find_program(${out} NAMES ${program})
  if(NOT ${out})
    message(FATAL_ERROR "${program} not found (package ${package}); run ./dev setup")
  endif()
  mark_as_advanced(${out})
endfunction()

function(merritt_header_library name include_dir)
  add_library(merritt_dep_${name} INTERFACE)
  add_library(merritt::${name} ALIAS merritt_dep_${name})
  # The default include folder must not become -isystem: that breaks #include_next of the standard library.
  if(NOT include_dir IN_LIST CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES)
    target_include_directories(merritt_dep_${name} SYSTEM INTERFACE "${include_dir}")
  endif()
endfunction()

# oneDNN: static, THREADPOOL runtime on the host's executor.
merritt_source_prefix(onednn MERRITT_ONEDNN_PREFIX)
merritt_header_library(onednn "${MERRITT_ONEDNN_PREFIX}/include")
target_link_libraries(merritt_dep_onednn INTERFACE "${MERRITT_ONEDNN_PREFIX}/lib/libdnnl.a" Threads::Threads ${CMAKE_DL_LIBS})

# Cap'n Proto: messages and schemas only, no event loop, no RPC.
merritt_source_prefix(capnproto MERRITT_CAPNP_PREFIX)
merritt_header_library(capnp "${MERRITT_CAPNP_PREFIX}/include")
target_link_libraries(merritt_dep_capnp INTERFACE "${MERRITT_CAPNP_PREFIX}/lib/libcapnp.a"
  "${MERRITT_CAPNP_PREFIX}/lib/libkj.a" Threads::Threads)

# The schema compiler is the distribution's; what it writes refuses headers of another version.
merritt_find_tool(MERRITT_CAPNP capnp capnproto)
merritt_find_tool(MERRITT_CAPNPC_CXX capnpc-c++ capnproto)
execute_process(COMMAND "${MERRITT_CAPNP}" --version OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE)
string(REGEX REPLACE ".*/capnproto-([0-9.]+)-[0-9a-f]+$" "Cap'n Proto version \\1" wanted "${MERRITT_CAPNP_PREFIX}")
if(NOT found STREQUAL wanted)
  message(FATAL_ERROR "${MERRITT_CAPNP} is \"${found}\", not \"${wanted}\"; set MERRITT_CAPNP and MERRITT_CAPNPC_CXX to that "
    "version's (package capnproto of Debian 12)")
endif()
unset(found)
unset(wanted)

# Compiles schemas into the library TARGET (made when it does not exist); users include "<name>.capnp.h".
function(merritt_capnp_schema target)
  set(folder "${CMAKE_BINARY_DIR}/schema")
  file(MAKE_DIRECTORY "${folder}")
  if(NOT TARGET ${target})
    add_library(${target} STATIC)
    set_target_properties(${target} PROPERTIES LINKER_LANGUAGE CXX)
  endif()
  foreach(schema ${ARGN})
    get_filename_component(schema "${schema}" ABSOLUTE)
    get_filename_component(source_dir "${schema}" DIRECTORY)
    get_filename_component(name "${schema}" NAME)
    set(generated "${folder}/${name}.c++")
    add_custom_command(OUTPUT "${generated}" "${folder}/${name}.h"
      COMMAND "${MERRITT_CAPNP}" compile "--no-standard-import" "--src-prefix=${source_dir}"
        "-I${MERRITT_CAPNP_PREFIX}/include" "-o${MERRITT_CAPNPC_CXX}:${folder}" "${schema}"
      DEPENDS "${schema}" "${MERRITT_CAPNP}" "${MERRITT_CAPNPC_CXX}" COMMENT "Cap'n Proto ${name}" VERBATIM)
    set_source_files_properties("${generated}" PROPERTIES GENERATED ON COMPILE_OPTIONS "-w;$<$<CXX_COMPILER_ID:GNU>:-fno-gnu-unique>")
    target_sources(${target} PRIVATE "${generated}" "${folder}/${name}.h")
  endforeach()
  target_include_directories(${target} SYSTEM PUBLIC "${folder}")
  target_link_libraries(${target} PUBLIC merritt::capnp)
endfunction()

# Boost.DLL: headers only; with std::filesystem it needs no compiled Boost library.
merritt_find_header(MERRITT_BOOST_INCLUDE boost/dll.hpp libboost1.81-dev)
merritt_header_library(boost_dll "${MERRITT_BOOST_INCLUDE}")
target_compile_definitions(merritt_dep_boost_dll INTERFACE BOOST_DLL_USE_STD_FS=1 BOOST_ALL_NO_LIB=1)
target_link_libraries(merritt_dep_boost_dll INTERFACE ${CMAKE_DL_LIBS})

# spdlog and fmt: header-only; no thread-local cache, which a shared library's threads would leave behind.
merritt_find_header(MERRITT_SPDLOG_INCLUDE spdlog/spdlog.h libspdlog-dev)
merritt_find_header(MERRITT_FMT_INCLUDE fmt/format.h libfmt-dev)
merritt_header_library(spdlog "${MERRITT_SPDLOG_INCLUDE}")
target_compile_definitions(merritt_dep_spdlog INTERFACE SPDLOG_FMT_EXTERNAL=1 FMT_HEADER_ONLY=1
  SPDLOG_NO_TLS=1)
target_link_libraries(merritt_dep_spdlog INTERFACE Threads::Threads)

# libcrypto: the static archive, proven position independent by linking one object of it into a shared object.
merritt_find_header(MERRITT_OPENSSL_INCLUDE openssl/evp.h libssl-dev)
merritt_find_archive(MERRITT_CRYPTO_ARCHIVE libcrypto.a libssl-dev)
if(NOT MERRITT_CRYPTO_PIC)
  set(probe "${CMAKE_BINARY_DIR}/probe/crypto_pic")
  file(WRITE "${probe}.c" "#include <openssl/evp.h>\nconst void *merritt_probe(void) { return EVP_sha256(); }\n")
  execute_process(COMMAND "${CMAKE_C_COMPILER}" -shared -fPIC -Wl,-z,text "${probe}.c" -o "${probe}.so"
    "${MERRITT_CRYPTO_ARCHIVE}" RESULT_VARIABLE failed OUTPUT_VARIABLE text ERROR_VARIABLE text)
  if(failed)
    message(FATAL_ERROR "${MERRITT_CRYPTO_ARCHIVE} does not link into a shared library: ${text}")
  endif()
  set(MERRITT_CRYPTO_PIC ON CACHE INTERNAL "libcrypto.a is position independent")
endif()
merritt_header_library(crypto "${MERRITT_OPENSSL_INCLUDE}")
target_link_libraries(merritt_dep_crypto INTERFACE "${MERRITT_CRYPTO_ARCHIVE}" Threads::Threads ${CMAKE_DL_LIBS})

merritt_find_header(MERRITT_JSON_INCLUDE nlohmann/json.hpp nlohmann-json3-dev)
merritt_header_library(json "${MERRITT_JSON_INCLUDE}")

merritt_find_header(MERRITT_UTF8PROC_INCLUDE utf8proc.h libutf8proc-dev)
merritt_find_archive(MERRITT_UTF8PROC_ARCHIVE libutf8proc.a libutf8proc-dev)
merritt_header_library(utf8proc "${MERRITT_UTF8PROC_INCLUDE}")
target_compile_definitions(merritt_dep_utf8proc INTERFACE UTF8PROC_STATIC)
target_link_libraries(merritt_dep_utf8proc INTERFACE "${MERRITT_UTF8PROC_ARCHIVE}")

if(MERRITT_TOOLS)
  merritt_find_header(MERRITT_CLI11_INCLUDE CLI/CLI.hpp libcli11-dev)
  merritt_header_library(cli11 "${MERRITT_CLI11_INCLUDE}")
endif()

if(MERRITT_TESTS)
  merritt_find_header(MERRITT_GTEST_INCLUDE gtest/gtest.h libgtest-dev)
  merritt_find_archive(MERRITT_GTEST_ARCHIVE libgtest.a libgtest-dev)
  merritt_find_archive(MERRITT_GTEST_MAIN_ARCHIVE libgtest_main.a libgtest-dev)
  merritt_find_archive(MERRITT_GMOCK_ARCHIVE libgmock.a libgmock-dev)
  merritt_header_library(gtest "${MERRITT_GTEST_INCLUDE}")
  target_link_libraries(merritt_dep_gtest INTERFACE "${MERRITT_GTEST_MAIN_ARCHIVE}" "${MERRITT_GMOCK_ARCHIVE}"
    "${MERRITT_GTEST_ARCHIVE}" Threads::Threads)
endif()

if(MERRITT_BENCH)
  find_package(benchmark QUIET)
  if(NOT benchmark_FOUND)
    message(FATAL_ERROR "Google Benchmark not found (package libbenchmark-dev); run ./dev setup")
  endif()
  add_library(merritt_dep_benchmark INTERFACE)
  add_library(merritt::benchmark ALIAS merritt_dep_benchmark)
  target_link_libraries(merritt_dep_benchmark INTERFACE benchmark::benchmark)
endif()
