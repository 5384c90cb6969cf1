# What `cmake --install` puts where. Components: runtime (library, plugins, command), dev (headers, package files).
# Everything is relocatable; lib/ is fixed because the command finds its plugins at ../lib/merritt/plugins.
if(NOT TARGET merritt)
  return()
endif()
include(CMakePackageConfigHelpers)

set_target_properties(merritt PROPERTIES EXPORT_NAME core)
add_library(merritt_cpp INTERFACE)
target_link_libraries(merritt_cpp INTERFACE merritt)
target_compile_features(merritt_cpp INTERFACE cxx_std_20)
target_include_directories(merritt_cpp INTERFACE $<INSTALL_INTERFACE:include>)
set_target_properties(merritt_cpp PROPERTIES EXPORT_NAME cpp)

install(TARGETS merritt merritt_abi merritt_cpp EXPORT MerrittTargets
  LIBRARY DESTINATION lib COMPONENT runtime NAMELINK_COMPONENT dev)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/abi/include/merritt" DESTINATION include COMPONENT dev
  FILES_MATCHING PATTERN "*.h")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/sdk/include/merritt" DESTINATION include COMPONENT dev
  FILES_MATCHING PATTERN "*.hpp")
install(EXPORT MerrittTargets NAMESPACE Merritt:: DESTINATION lib/cmake/Merritt COMPONENT dev)

configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/MerrittConfig.cmake.in"
  "${CMAKE_BINARY_DIR}/package/MerrittConfig.cmake" INSTALL_DESTINATION lib/cmake/Merritt)
# The ABI only grows within a SONAME: what was built for an older version works with this one. A break before 1.0, which
# bumps the SONAME, must end this too.
write_basic_package_version_file("${CMAKE_BINARY_DIR}/package/MerrittConfigVersion.cmake"
  VERSION "${PROJECT_VERSION}" COMPATIBILITY SameMajorVersion)
configure_file("${CMAKE_CURRENT_LIST_DIR}/merritt.pc.in" "${CMAKE_BINARY_DIR}/package/merritt.pc" @ONLY)
install(FILES "${CMAKE_BINARY_DIR}/package/MerrittConfig.cmake" "${CMAKE_BINARY_DIR}/package/MerrittConfigVersion.cmake"
  DESTINATION lib/cmake/Merritt COMPONENT dev)
install(FILES "${CMAKE_BINARY_DIR}/package/merritt.pc" DESTINATION lib/pkgconfig COMPONENT dev)

# Byte for byte: a plugin whose run path were rewritten would no longer be the file that was signed.
install(DIRECTORY "${MERRITT_OUTPUT_DIR}/lib/merritt/plugins" DESTINATION lib/merritt COMPONENT runtime
  DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE
  PATTERN "*.pem" EXCLUDE)
if(TARGET merritt_command)
  install(TARGETS merritt_command RUNTIME DESTINATION bin COMPONENT runtime)
endif()
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION share/doc/merritt COMPONENT runtime)
