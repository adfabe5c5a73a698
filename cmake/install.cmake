# What `make install` puts where: program, libraries, headers, galerne.pc, the CMake package, manuals, completions.
# SPDX-License-Identifier: Apache-2.0
include(CMakePackageConfigHelpers)

install(TARGETS galerne_shared EXPORT galerneTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS galerne_static ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET galerne)
  install(TARGETS galerne RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(DIRECTORY ${CMAKE_BINARY_DIR}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 FILES_MATCHING PATTERN "*.1")
  foreach(place "galerne.bash;bash-completion/completions;galerne" "_galerne;zsh/site-functions;_galerne"
      "galerne.fish;fish/vendor_completions.d;galerne.fish")
    list(GET place 0 file)
    list(GET place 1 folder)
    list(GET place 2 name)
    install(FILES ${CMAKE_BINARY_DIR}/completions/${file} DESTINATION ${CMAKE_INSTALL_DATADIR}/${folder} RENAME ${name}
      OPTIONAL)
  endforeach()
endif()
install(DIRECTORY ${CMAKE_SOURCE_DIR}/include/galerne DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.h")

# galerne.pc is written at installation, when the prefix is known (cmake --install --prefix may change it).
set(pc_in ${CMAKE_SOURCE_DIR}/cmake/galerne.pc.in)
install(CODE "
  set(PROJECT_VERSION \"${PROJECT_VERSION}\")
  set(GAL_CUDA_LIBS \"${GAL_CUDA_LIBS}\")
  set(CMAKE_INSTALL_INCLUDEDIR \"${CMAKE_INSTALL_INCLUDEDIR}\")
  set(CMAKE_INSTALL_LIBDIR \"${CMAKE_INSTALL_LIBDIR}\")
  configure_file(\"${pc_in}\" \"${CMAKE_BINARY_DIR}/galerne.pc\" @ONLY)")
install(FILES ${CMAKE_BINARY_DIR}/galerne.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/galerne)
install(EXPORT galerneTargets NAMESPACE galerne:: DESTINATION ${package})
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/galerneConfig.cmake.in ${CMAKE_BINARY_DIR}/galerneConfig.cmake
  INSTALL_DESTINATION ${package})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/galerneConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/galerneConfig.cmake ${CMAKE_BINARY_DIR}/galerneConfigVersion.cmake
  DESTINATION ${package})
