# find_package(steelyard CONFIG) gives steelyard::steelyard. A static library needs what it was built on.
include(CMakeFindDependencyMacro)
find_dependency(TBB)
find_dependency(ZLIB)
find_dependency(PkgConfig)
pkg_check_modules(XXHASH REQUIRED QUIET IMPORTED_TARGET libxxhash)
pkg_check_modules(UTF8PROC REQUIRED QUIET IMPORTED_TARGET libutf8proc)
include(${CMAKE_CURRENT_LIST_DIR}/steelyardTargets.cmake)
