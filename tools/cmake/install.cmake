# `cmake --install`: the library with its headers, a CMake package, a pkg-config file and, if built, the program.
# A program that includes this project by add_subdirectory links steelyard::steelyard and installs nothing of it.
if(NOT PROJECT_IS_TOP_LEVEL OR STEELYARD_FUZZ)
  return()
endif()
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/steelyard)
install(TARGETS steelyard EXPORT steelyard ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT steelyard NAMESPACE steelyard:: FILE steelyardTargets.cmake DESTINATION ${package})
foreach(room core autograd nn optim data)
  install(DIRECTORY ${room} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/steelyard
    FILES_MATCHING PATTERN "*.h" PATTERN cpu EXCLUDE)
endforeach()
if(TARGET steelyard_tool)
  install(TARGETS steelyard_tool RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

configure_file(tools/cmake/steelyardConfig.cmake steelyardConfig.cmake COPYONLY)
write_basic_package_version_file(steelyardConfigVersion.cmake COMPATIBILITY SameMinorVersion)
configure_file(tools/cmake/steelyard.pc.in steelyard.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/steelyardConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/steelyardConfigVersion.cmake
  DESTINATION ${package})
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/steelyard.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
