import CMempool
import CMempoolHeaders
import Glibc

/// What a driver has done by another thread, which has come and gone when it returns.
enum Elsewhere {
  private struct Call {
    let pointer: UnsafeMutableRawPointer
    let pool: OpaquePointer?
  }

  /// Gives an object back; false when no thread could be had.
  static func free(_ pointer: UnsafeMutableRawPointer, in pool: OpaquePointer?) -> Bool {
    var call = Call(pointer: pointer, pool: pool)
    var thread = pthread_t()
    return withUnsafeMutablePointer(to: &call) { call in
      let error = pthread_create(
        &thread, nil,
        { call in
          let call = call!.assumingMemoryBound(to: Call.self).pointee
          mp_pool_free(call.pool, call.pointer)
          return nil
        }, call)
      return error == 0 && pthread_join(thread, nil) == 0
    }
  }
}
