# merritt_layer(NAME [LINK ...])    static library merritt_<NAME> of sdk/src/<NAME>/*.cpp; slashes become underscores
#   [ALONE]                         each source is a unit of its own: they have names in common
# merritt_plugin(NAME [LINK ...])   plugin libmerritt_<NAME>.so of plugins/<NAME>: one exported symbol, own ISA per file
#   [FEATURES ...]                  CPU features without which it is not loaded, for its manifest
#   [DIRECTORY ...] [OUTPUT ...]    other sources; other folder under lib/merritt than plugins (fixtures: test_plugins)
# merritt_test(FOLDER [LINK ...])   executable test_<FOLDER> of tests/<FOLDER>/*_test.cpp; they share units, so no two of
#                                   them may have the same name for different things
#   [SOURCES ...] [LARGE]           other sources; much code that does little: under a sanitizer it is not optimised.
#                                   A test's own code is not looked through for undefined behaviour, as what it tests
#                                   is: that takes as long as all else there

# C++ sources eight to a unit, for reading the headers takes longer than compiling most of them. Those with options of
# their own (an ISA) or marked SKIP_UNITY_BUILD_INCLUSION, in the folder that calls this, stay alone. CMake's own units
# say where the checkout lies, so that no other checkout finds them in a compiler cache; these include by the path from
# the project's root.
function(merritt_units out name sources)
  set(units "")
  set(together "")
  foreach(source IN LISTS sources)
    get_source_file_property(options "${source}" COMPILE_OPTIONS)
    get_source_file_property(alone "${source}" SKIP_UNITY_BUILD_INCLUSION)
    if(options OR alone OR source MATCHES "\\.c$")
      list(APPEND units "${source}")
    else()
      list(APPEND together "${source}")
    endif()
  endforeach()
  set(number 0)
  while(together)
    list(SUBLIST together 0 8 unit)
    list(REMOVE_ITEM together ${unit})
    set(text "")
    foreach(source IN LISTS unit)
      cmake_path(ABSOLUTE_PATH source)
      file(RELATIVE_PATH path "${PROJECT_SOURCE_DIR}" "${source}")
      string(APPEND text "#include \"${path}\"\n")
    endforeach()
    file(CONFIGURE OUTPUT "units/${name}_${number}.cpp" CONTENT "${text}" @ONLY)
    list(APPEND units "${CMAKE_CURRENT_BINARY_DIR}/units/${name}_${number}.cpp")
    math(EXPR number "${number} + 1")
  endwhile()
  set(${out} "${units}" PARENT_SCOPE)
endfunction()

function(merritt_layer name)
  cmake_parse_arguments(ARG "ALONE" "" "LINK" ${ARGN})
  string(REPLACE "/" "_" target "merritt_${name}")
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/sdk/src/${name}/*.cpp")
  if(name STREQUAL "base")
    file(GLOB os CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/sdk/src/base/os/*.cpp")
    list(APPEND sources ${os})
  endif()
  if(NOT sources)
    add_library(${target} INTERFACE)
    target_include_directories(${target} INTERFACE "${PROJECT_SOURCE_DIR}/sdk/src")
    target_link_libraries(${target} INTERFACE merritt_flags merritt_abi ${ARG_LINK})
    return()
  endif()
  merritt_isa_flags(${sources})
  if(NOT ARG_ALONE)
    merritt_units(sources "${target}" "${sources}")
  endif()
  add_library(${target} STATIC ${sources})
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}")
  target_include_directories(${target} PUBLIC "${PROJECT_SOURCE_DIR}/sdk/src")
  target_link_libraries(${target} PUBLIC merritt_flags merritt_abi ${ARG_LINK})
endfunction()

# The ISA of a kernel file is in its name: *_avx2.cpp, *_avx512.cpp, *_vnni.cpp, *_bf16.cpp, *_amx.cpp. Everything
# else is compiled for the baseline, so that loading a plugin can never raise SIGILL.
set(MERRITT_ISA_avx2 -mavx2 -mfma -mf16c -mbmi2)
set(MERRITT_ISA_avx512 ${MERRITT_ISA_avx2} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512)
set(MERRITT_ISA_vnni ${MERRITT_ISA_avx512} -mavx512vnni -mavx512vbmi)
set(MERRITT_ISA_bf16 ${MERRITT_ISA_vnni} -mavx512bf16)
set(MERRITT_ISA_amx ${MERRITT_ISA_bf16} -mamx-tile -mamx-int8 -mamx-bf16)
function(merritt_isa_flags)
  foreach(source ${ARGN})
    foreach(isa avx2 avx512 vnni bf16 amx)
      if(source MATCHES "_${isa}\\.cpp$")
        set_source_files_properties("${source}" PROPERTIES COMPILE_OPTIONS "${MERRITT_ISA_${isa}}")
      endif()
    endforeach()
  endforeach()
endfunction()

function(merritt_plugin name)
  cmake_parse_arguments(ARG "" "DIRECTORY;OUTPUT" "LINK;SOURCES;FEATURES" ${ARGN})
  if(NOT ARG_OUTPUT)
    set(ARG_OUTPUT plugins)
  endif()
  if(NOT ARG_DIRECTORY)
    set(ARG_DIRECTORY "${PROJECT_SOURCE_DIR}/plugins/${name}")
  endif()
  file(GLOB sources CONFIGURE_DEPENDS "${ARG_DIRECTORY}/*.cpp")
  list(APPEND sources ${ARG_SOURCES})
  if(NOT sources)
    return()
  endif()
  merritt_isa_flags(${sources})
  add_library(plugin_${name} MODULE ${sources})
  target_link_libraries(plugin_${name} PRIVATE merritt_flags merritt_abi merritt_plugin_support ${ARG_LINK})
  set_target_properties(plugin_${name} PROPERTIES OUTPUT_NAME "merritt_${name}" PREFIX "lib"
    LIBRARY_OUTPUT_DIRECTORY "${MERRITT_OUTPUT_DIR}/lib/merritt/${ARG_OUTPUT}")
  target_link_options(plugin_${name} PRIVATE -Wl,-z,nodelete -Wl,--gc-sections -Wl,--exclude-libs,ALL
    -Wl,--version-script,${PROJECT_SOURCE_DIR}/plugins/support/plugin.map)
  if(NOT MERRITT_SANITIZE)
    target_link_options(plugin_${name} PRIVATE -Wl,-z,defs)
  endif()
  merritt_sign_plugin(plugin_${name} ${name} ${ARG_FEATURES})
endfunction()

# merritt_sign_plugin(TARGET ID [FEATURE...]) signs a plugin after each link with the key of this build folder, and writes
# the trust list that says so. There is no way to load an unsigned plugin; a key that never leaves the folder is the way
# to develop one.
function(merritt_sign_plugin target id)
  set(key "${CMAKE_BINARY_DIR}/plugin_key.pem")
  set(trust "${MERRITT_OUTPUT_DIR}/lib/merritt/plugins/trust.json")
  if(NOT TARGET merritt_sign)
    add_executable(merritt_sign "${PROJECT_SOURCE_DIR}/sdk/tools/sign_main.cpp")
    target_link_libraries(merritt_sign PRIVATE merritt_backend)
    set_target_properties(merritt_sign PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tools")
    add_custom_command(OUTPUT "${key}" "${trust}"
      COMMAND "${CMAKE_BINARY_DIR}/tools/merritt_sign" key "${key}" "${trust}" merritt-build
      COMMENT "Key and trust list of this build" VERBATIM)
    # Named by its path: a signer that was built again is no reason for another key.
    add_custom_target(merritt_plugin_key DEPENDS "${key}" "${trust}")
    add_dependencies(merritt_plugin_key merritt_sign)
  endif()
  add_dependencies(${target} merritt_sign merritt_plugin_key)
  set_property(TARGET ${target} APPEND PROPERTY LINK_DEPENDS "${key}")
  add_custom_command(TARGET ${target} POST_BUILD
    COMMAND merritt_sign plugin "$<TARGET_FILE:${target}>" "${key}" merritt-build ${id} ${PROJECT_VERSION} ${ARGN}
    COMMENT "Signing plugin ${id}" VERBATIM)
endfunction()

function(merritt_test folder)
  cmake_parse_arguments(ARG "LARGE" "" "LINK;SOURCES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/${folder}/*_test.cpp")
  list(APPEND sources ${ARG_SOURCES})
  if(NOT sources)
    return()
  endif()
  string(REGEX REPLACE "^sdk/" "" short "${folder}")
  string(REPLACE "/" "_" target "test_${short}")
  merritt_units(sources "${target}" "${sources}")
  add_executable(${target} ${sources})
  target_link_libraries(${target} PRIVATE merritt_flags ${ARG_LINK} merritt_test_places merritt::gtest)
  # What is tested is optimised in full; of the tests themselves -O3 only makes a build slower. At -O1 GCC takes a
  # replaced operator delete that ends in free for a mismatch.
  if(MERRITT_SANITIZE)
    target_compile_options(${target} PRIVATE -fno-sanitize=undefined $<$<BOOL:${ARG_LARGE}>:-O0>)
  endif()
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>
    $<$<AND:$<COMPILE_LANG_AND_ID:CXX,GNU>,$<CONFIG:Release>>:-Wno-mismatched-new-delete>)
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}")
  add_test(NAME ${target} COMMAND ${target})
endfunction()
