// A backend of statsd that prints each flush as a line of JSON, and the port of the server first.
exports.init = function (start, config, events) {
  console.log(config.port);
  events.on("flush", function (time, metrics) {
    const { counters, gauges, timer_data: timers } = metrics;
    console.log(JSON.stringify({ counters, gauges, timers }));
  });
  return true;
};
