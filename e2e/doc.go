// Package e2e holds tests of the whole: the quickstart in a real browser, and
// sessions in the databases that people keep them in. It exports nothing.
//
// The tests find chromium, redis-server and PostgreSQL by themselves, or by
// CHROME, REDIS_URL and POSTGRES_URL; what is missing is skipped with a message that
// says so. SCREENSHOTS names a directory for pictures of every page.
// WECOM_E2E_FULL=1 repeats the races as often as the project's bars ask for.
package e2e
