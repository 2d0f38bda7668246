//! Ringway's engine. Data flows one way and imports follow it: a module may import what stands below it here.
