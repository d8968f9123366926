// Processes and seeded random numbers, for the tests of this package.
@_exported public import DeliveryTesting
