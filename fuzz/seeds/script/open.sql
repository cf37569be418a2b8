SELECT $1a, a$b$c, 1--;
+2, B'01', X'1F', N'é', 1.5e3, 0x1F, a[1:2], x ? y, a#>>'{b}'; SELECT 'not closed