import CMempoolHeaders
import CMempoolShims
import MempoolCore

// Slab caches: mempool.h says what each does. The first word of an mp_cache_t is the address of the cache's record in the
// shared pool, 0 before mp_cache_init and after mp_cache_destroy; the others are for what is to come.

@c @implementation public func mp_cache_init_impl(
  _ cache: UnsafeMutablePointer<mp_cache_t>!, _ name: UnsafePointer<CChar>!, _ itemSize: Int
) {
  let itemSize = UInt(bitPattern: itemSize)
  // A type's size is a multiple of its alignment.
  let alignment = min(itemSize & (0 &- itemSize), 4096)
  do throws(PoolError) {
    let record = try MemoryPoolPointer.shared.makeCache(itemSize: itemSize, alignment: alignment, name: name)
    setRecord(cache, UInt(bitPattern: record))
  } catch {
    let isSize = error == .invalidArgument
    fatal("mp_cache_init_impl", byteCount: itemSize, isSize ? "no item can have this size" : "out of memory")
  }
}

@c @implementation public func mp_cache_destroy(_ cache: UnsafeMutablePointer<mp_cache_t>!) {
  let record = record(cache, "mp_cache_destroy")
  record.destroy(call: "mp_cache_destroy", subject: UInt(bitPattern: cache))
  setRecord(cache, 0)
}

@c @implementation public func mp_cache_alloc(_ cache: UnsafeMutablePointer<mp_cache_t>!) -> UnsafeMutableRawPointer! {
  record(cache, "mp_cache_alloc").takeOrAbort(call: "mp_cache_alloc", subject: UInt(bitPattern: cache))
}

@c @implementation public func mp_cache_free(
  _ cache: UnsafeMutablePointer<mp_cache_t>!, _ item: UnsafeMutableRawPointer!
) {
  record(cache, "mp_cache_free").put(item, call: "mp_cache_free")
}

@c @implementation public func mp_cache_alloc_array(
  _ cache: UnsafeMutablePointer<mp_cache_t>!, _ count: UInt32
) -> UnsafeMutableRawPointer! {
  let record = record(cache, "mp_cache_alloc_array")
  guard count >= 1, UInt(count) <= record.arrayCapacity else { return invalidArgument() }
  if let items = record.takeArray(UInt(count)) { return items }
  misuse("mp_cache_alloc_array", UInt(bitPattern: cache), "out of memory")
}

@c @implementation public func mp_cache_free_array(
  _ cache: UnsafeMutablePointer<mp_cache_t>!, _ items: UnsafeMutableRawPointer!, _ count: UInt32
) {
  record(cache, "mp_cache_free_array").putArray(items, UInt(count), call: "mp_cache_free_array")
}

@inline(__always)
private func record(_ cache: UnsafeMutablePointer<mp_cache_t>?, _ call: StaticString) -> SlabCachePointer {
  if let cache, let record = SlabCachePointer(bitPattern: UnsafeRawPointer(cache).load(as: UInt.self)) { return record }
  noCache(call, UInt(bitPattern: cache))
}

private func setRecord(_ cache: UnsafeMutablePointer<mp_cache_t>, _ word: UInt) {
  cache.initialize(to: mp_cache_t())
  UnsafeMutableRawPointer(cache).storeBytes(of: word, as: UInt.self)
}

@inline(never)
private func noCache(_ call: StaticString, _ cache: UInt) -> Never {
  misuse(call, cache, "no cache: not made yet, or destroyed")
}
