DROP INDEX speeches_files_by_end;
DROP INDEX speeches_bare_by_end;
DROP INDEX tasks_files_by_end;
DROP INDEX tasks_bare_by_end;
