// Package e2e holds tests of the whole: the quickstart in a real browser, sessions in the
// databases that people keep them in, streams and WebSockets, fleets of processes that are
// restarted under load, and nginx in front. It exports nothing.
//
// The tests find chromium, redis-server, PostgreSQL and nginx by themselves, or the first three by
// CHROME, REDIS_URL and POSTGRES_URL; what is missing is skipped with a message that
// says so. SCREENSHOTS names a directory for pictures of every page.
// WECOM_E2E_FULL=1 repeats the races as often as the project's bars ask for.
package e2e
