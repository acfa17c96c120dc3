# The allocators that the scripts here compare with: what is preloaded of each, a path a line; installs what is missing. `root` is the project's.
peer_libraries() {
  local peers='libmimalloc2.0 libjemalloc2 libtcmalloc-minimal4 libtbbmalloc2'
  # shellcheck disable=SC2086
  "$root/scripts/need" $peers >&2
  # shellcheck disable=SC2086
  dpkg -L $peers | grep -E '/lib(mimalloc|jemalloc|tcmalloc_minimal|tbbmalloc_proxy)\.so\.[0-9]$'
}
