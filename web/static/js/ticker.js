// Runs in a worker, where a browser does not slow down the clock of a page that nobody looks at.

setInterval(() => postMessage(null), 1000);
