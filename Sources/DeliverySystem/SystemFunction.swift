/// Functions that this process may have, in whatever library.
package enum SystemFunction {
    /// A function by its name (`dlsym`); nil where there is none.
    package static func named(_ name: String) -> UnsafeMutableRawPointer? {
        #if canImport(Darwin)
            let everywhere = UnsafeMutableRawPointer(bitPattern: -2)
        #else
            let everywhere: UnsafeMutableRawPointer? = nil
        #endif
        return dlsym(everywhere, name)
    }
}
